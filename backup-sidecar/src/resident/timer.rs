//! This room remembers when the schedules were last served, and says what is due. Pure: every instant is an argument.

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::manifest::Cause;

/// A run that is later than this was missed, and is called so.
const LATE: SignedDuration = SignedDuration::from_mins(5);

/// After a failure the next try comes so soon, or when the schedule says so, whichever is sooner.
const RETRY_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Another job is soon done.
const RETRY_WHEN_BUSY: SignedDuration = SignedDuration::from_secs(30);

/// What the loop knows about time.
pub(super) struct Timer {
    /// From when on a scheduled run counts.
    anchor: Timestamp,
    /// A run that is wanted whatever the schedule says.
    wanted: Option<Cause>,
    /// After a failure: the instant of the next try.
    retry_at: Option<Timestamp>,
    drill_anchor: Timestamp,
}

impl Timer {
    /// `newest` is the newest archive, `drilled` the last drill.
    pub(super) fn new(
        now: Timestamp,
        newest: Option<Timestamp>,
        drilled: Option<Timestamp>,
    ) -> Self {
        // What is dated after now was made by a clock that was wrong.
        let anchor = newest.filter(|newest| *newest <= now).unwrap_or(now);
        Self {
            anchor,
            wanted: None,
            retry_at: None,
            drill_anchor: drilled.filter(|drilled| *drilled <= now).unwrap_or(now),
        }
    }

    pub(super) fn want_now(&mut self, cause: Cause) {
        self.wanted = Some(cause);
    }

    /// Runs missed before `now` are not caught up.
    pub(super) fn skip_missed(&mut self, now: Timestamp) {
        self.anchor = now;
    }

    /// An archive of `taken` was made.
    pub(super) fn served(&mut self, taken: Timestamp) {
        self.anchor = taken;
        self.wanted = None;
        self.retry_at = None;
    }

    /// A job failed, or found another one at work.
    pub(super) fn failed(&mut self, config: &Config, now: Timestamp, is_busy: bool) {
        let pause = if is_busy {
            RETRY_WHEN_BUSY
        } else {
            RETRY_AFTER
        };
        let soon = now.checked_add(pause).ok();
        let schedule = config.schedule.as_ref();
        let scheduled = schedule.and_then(|schedule| schedule.next_after(now, &config.zone));
        self.retry_at = soon.into_iter().chain(scheduled).min();
    }

    pub(super) fn drilled(&mut self, at: Timestamp) {
        self.drill_anchor = at;
    }

    /// The job that is due, and since when.
    pub(super) fn due(&mut self, config: &Config, now: Timestamp) -> Option<(Cause, Timestamp)> {
        if self.anchor > now {
            self.anchor = now; // The clock went back: the schedule goes on from here.
        }
        if let Some(retry_at) = self.retry_at {
            let waits = now < retry_at && retry_at.duration_since(now) <= RETRY_AFTER;
            if waits {
                return None;
            }
        }
        if let Some(cause) = self.wanted {
            return Some((cause, now));
        }
        let due = config
            .schedule
            .as_ref()?
            .next_after(self.anchor, &config.zone)?;
        if due > now {
            return None;
        }
        let cause = if now.duration_since(due) > LATE {
            Cause::Missed
        } else {
            Cause::Schedule
        };
        Some((cause, due))
    }

    /// When the next backup is planned.
    pub(super) fn next_backup(&self, config: &Config, now: Timestamp) -> Option<Timestamp> {
        config
            .schedule
            .as_ref()?
            .next_after(self.anchor.min(now), &config.zone)
    }

    pub(super) fn drill_is_due(&mut self, config: &Config, now: Timestamp) -> bool {
        self.drill_anchor = self.drill_anchor.min(now);
        config
            .drill
            .as_ref()
            .is_some_and(|drill| drill.is_due(self.drill_anchor, now, &config.zone))
    }
}

#[cfg(test)]
mod tests {
    use daemon_kit::env::Env;

    use super::*;

    fn config() -> Config {
        Config::read(&mut Env::from_map([
            ("BACKUP_SCHEDULE", "0 2 * * *"),
            ("TZ", "Asia/Tokyo"),
        ]))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn weeks_without_power_are_caught_up_once() {
        let now = at("2026-11-28T12:00:00+09:00");
        let mut timer = Timer::new(now, Some(at("2026-11-01T02:00:00+09:00")), None);
        let due = timer.due(&config(), now).unwrap();
        assert_eq!(due, (Cause::Missed, at("2026-11-02T02:00:00+09:00")));
        timer.served(now);
        assert_eq!(timer.due(&config(), now), None);
        assert_eq!(
            timer.next_backup(&config(), now),
            Some(at("2026-11-29T02:00:00+09:00"))
        );
        let (cause, _) = timer
            .due(&config(), at("2026-11-29T02:00:03+09:00"))
            .unwrap();
        assert_eq!(cause, Cause::Schedule);
    }

    #[test]
    fn a_clock_that_went_back_does_not_stop_the_backups() {
        let now = at("2026-11-28T12:00:00+09:00");
        let mut timer = Timer::new(now, Some(at("2027-11-28T02:00:00+09:00")), None);
        assert_eq!(timer.due(&config(), now), None);
        assert!(
            timer
                .due(&config(), at("2026-11-29T02:00:00+09:00"))
                .is_some()
        );
        timer.served(at("2027-01-01T02:00:00+09:00"));
        timer.failed(&config(), at("2027-01-01T02:00:00+09:00"), false);
        assert_eq!(
            timer.due(&config(), now),
            None,
            "looked at once with the right clock"
        );
        assert!(
            timer
                .due(&config(), at("2026-11-29T02:00:00+09:00"))
                .is_some()
        );
    }

    #[test]
    fn a_failure_is_tried_again_within_the_hour_and_skipping_skips() {
        let now = at("2026-11-28T02:00:00+09:00");
        let mut timer = Timer::new(now, Some(at("2026-11-27T02:00:00+09:00")), None);
        assert!(timer.due(&config(), now).is_some());
        timer.failed(&config(), now, false);
        assert_eq!(timer.due(&config(), at("2026-11-28T02:59:00+09:00")), None);
        assert!(
            timer
                .due(&config(), at("2026-11-28T03:00:00+09:00"))
                .is_some()
        );
        timer.skip_missed(now);
        timer.served(now);
        assert_eq!(timer.due(&config(), at("2026-11-28T03:00:00+09:00")), None);
        timer.want_now(Cause::Start);
        assert_eq!(
            timer.due(&config(), now).map(|(cause, _)| cause),
            Some(Cause::Start)
        );
    }

    #[test]
    fn a_failure_never_holds_up_what_the_schedule_wants() {
        let often = Config::read(&mut Env::from_map([("BACKUP_SCHEDULE", "*/10 * * * *")]));
        let now = at("2026-11-28T02:00:00+09:00");
        let mut timer = Timer::new(now, Some(at("2026-11-28T01:50:00+09:00")), None);
        timer.failed(&often, now, false);
        assert_eq!(timer.due(&often, at("2026-11-28T02:09:00+09:00")), None);
        assert!(timer.due(&often, at("2026-11-28T02:10:00+09:00")).is_some());
    }

    #[test]
    fn a_missed_drill_is_held_once() {
        let now = at("2026-11-28T12:00:00+09:00");
        let mut timer = Timer::new(now, None, Some(at("2026-08-01T04:00:00+09:00")));
        assert!(timer.drill_is_due(&config(), now));
        timer.drilled(now);
        assert!(!timer.drill_is_due(&config(), now));
        assert!(timer.drill_is_due(&config(), at("2026-12-01T04:00:00+09:00")));
    }
}
