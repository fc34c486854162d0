//! This room leaves word for the bot in `logs/`: until when archives can hold what was deleted. The two programs meet in
//! directories only, and who asks to be forgotten is to hear the truth.

use anyhow::Context;
use daemon_kit::publish;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::config::Config;
use crate::offsite;
use crate::retention::Policy;
use crate::schedule::Schedule;

/// The file, in `logs/`. The bot reads it by this name.
pub const FILE: &str = "backup-facts.json";

/// It is written again after this long even when nothing changed: an old one says that nobody deletes.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Runs that are looked at to see how far apart they lie.
const RUNS: usize = 8;

/// How long archives stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    v: u32,
    /// Days after which an archive is gone at the latest, while new ones are made as planned.
    days: u32,
    /// So many stay while no new ones are made.
    floor: u32,
    /// Whether new ones are made by themselves.
    scheduled: bool,
    /// Whether nothing is deleted until the owner accepts an archive.
    frozen: bool,
    /// Days after which copies off-site are gone at the latest, unless nothing is deleted; none: there are no copies.
    remote_days: Option<u32>,
}

impl Facts {
    /// What the settings and the catalogue say at `now`.
    #[must_use]
    pub fn of(config: &Config, frozen: bool, now: Timestamp) -> Self {
        let schedule = config.schedule.as_ref();
        let gap = schedule.map_or(1, |schedule| longest_gap(schedule, now, &config.zone));
        Self {
            v: 1,
            days: longest_days(&config.policy, gap),
            floor: config.policy.last.max(1),
            scheduled: schedule.is_some(),
            frozen,
            remote_days: config
                .remote
                .as_ref()
                .map(|remote| longest_days(&offsite::policy(config, remote), gap)),
        }
    }
}

/// Whole days between two runs at most, at least one.
fn longest_gap(schedule: &Schedule, now: Timestamp, zone: &TimeZone) -> u32 {
    let mut at = now;
    let mut longest = SignedDuration::ZERO;
    for _ in 0..RUNS {
        let Some(next) = schedule.next_after(at, zone) else {
            break;
        };
        longest = longest.max(next.duration_since(at));
        at = next;
    }
    let days = (longest.as_secs() + 86_399) / 86_400;
    u32::try_from(days).unwrap_or(u32::MAX).max(1)
}

/// Days until an archive taken now is gone at the latest, when runs are at most `gap` days apart: each rule lets it go
/// at the first run after its own end, and the last of a week, month or year stays until as many more have begun.
fn longest_days(policy: &Policy, gap: u32) -> u32 {
    let every = |count: u32, days: u32, begun: u32| {
        if count == 0 {
            0
        } else {
            count.saturating_mul(days.max(gap)).saturating_add(begun)
        }
    };
    let rules = [
        policy.days,
        every(policy.last.max(1), gap, 0),
        every(policy.daily, 1, 1),
        every(policy.weekly, 7, 7),
        every(policy.monthly, 31, 31),
        every(policy.yearly, 366, 366),
    ];
    let longest = rules.into_iter().max().unwrap_or(0);
    longest.saturating_add(gap)
}

/// What was last written, and when.
#[derive(Debug, Default)]
pub struct Told(Option<(Facts, Timestamp)>);

impl Told {
    /// Leaves `facts` in `logs/` when they are new, or old enough to be said again.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn tell(&mut self, config: &Config, facts: Facts, now: Timestamp) -> anyhow::Result<()> {
        let is_known = self.0.as_ref().is_some_and(|(told, at)| {
            // After a clock that went back, the last time lies ahead.
            *told == facts && *at <= now && now.duration_since(*at) < AGAIN_AFTER
        });
        if is_known {
            return Ok(());
        }
        let mut text = serde_json::to_value(&facts).context("describing how long archives stay")?;
        text["at"] = now.to_string().into();
        let path = config.log.dir.join(FILE);
        publish::write(&path, format!("{text}\n").as_bytes(), 0o666)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.0 = Some((facts, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAILY: Policy = Policy {
        days: 7,
        last: 3,
        daily: 0,
        weekly: 0,
        monthly: 0,
        yearly: 0,
    };

    fn remote_config(days: &str, last: &str) -> Config {
        let mut env = daemon_kit::env::Env::from_map([
            ("BACKUP_REMOTE_URL", "file:///mnt/usb"),
            ("BACKUP_REMOTE_RETENTION_DAYS", days),
            ("BACKUP_KEEP_LAST", last),
            ("BACKUP_SCHEDULE", "0 2 * * *"),
        ]);
        Config::read(&mut env)
    }

    fn remote_policy(days: &str, last: &str) -> Policy {
        let config = remote_config(days, last);
        offsite::policy(&config, config.remote.as_ref().unwrap())
    }

    #[test]
    fn the_floor_counts_off_site_as_well() {
        let now: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        let days = |days, last| Facts::of(&remote_config(days, last), false, now).remote_days;
        assert_eq!(days("30", "3"), Some(31));
        assert_eq!(days("5", "40"), Some(41));
    }

    fn days(policy: &Policy, schedule: &str) -> u32 {
        let now: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        let schedule = Schedule::parse(schedule).unwrap();
        longest_days(policy, longest_gap(&schedule, now, &TimeZone::UTC))
    }

    #[test]
    fn every_rule_counts_and_the_longest_holds() {
        assert_eq!(days(&DAILY, "0 2 * * *"), 8);
        assert_eq!(days(&DAILY, "@every 10s"), 8);
        // Weekly runs: the floor of three outlives the seven days.
        assert_eq!(days(&DAILY, "0 2 * * 0"), 28);
        let monthly = Policy {
            monthly: 6,
            ..DAILY
        };
        assert_eq!(days(&monthly, "0 2 * * *"), 7 * 31 + 1);
        let yearly = Policy { yearly: 2, ..DAILY };
        assert_eq!(days(&yearly, "0 2 * * *"), 3 * 366 + 1);
        let none = Policy {
            days: 0,
            last: 0,
            ..DAILY
        };
        assert_eq!(days(&none, "0 2 * * *"), 2);
    }

    /// The rules themselves, run after run, never keep an archive longer than is said: neither here nor off-site.
    #[test]
    fn the_plan_never_keeps_longer_than_is_said() {
        use crate::retention::{Candidate, plan};
        let start: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let many = Policy {
            daily: 10,
            weekly: 4,
            ..DAILY
        };
        let monthly = Policy {
            days: 0,
            last: 2,
            monthly: 3,
            ..DAILY
        };
        // Copies have days and a floor alone; where runs are rare, the floor outlives the days.
        let remote = remote_policy("30", "40");
        for (policy, gap) in [
            (DAILY, 1),
            (many, 1),
            (monthly, 1),
            (remote.clone(), 1),
            (remote, 7),
            (remote_policy("1", "3"), 31),
        ] {
            let said = longest_days(&policy, gap);
            let mut kept: Vec<Candidate> = Vec::new();
            for n in 0..400 {
                let days = i64::from(n) * i64::from(gap);
                let now = start + SignedDuration::from_hours(24 * days);
                kept.push(Candidate {
                    name: format!("a{n:04}"),
                    taken: now,
                    good: true,
                    unproved: false,
                });
                let verdicts = plan(&kept, &policy, &TimeZone::UTC, now, false);
                let goes = |name: &str| {
                    verdicts
                        .iter()
                        .any(|verdict| verdict.name == name && verdict.goes())
                };
                kept.retain(|archive| !goes(&archive.name));
                let oldest = now.duration_since(kept[0].taken).as_hours() / 24;
                assert!(
                    oldest <= i64::from(said),
                    "{policy:?} every {gap}: {oldest} days, said {said}"
                );
            }
        }
    }
}
