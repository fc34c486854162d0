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

/// After a drill that failed, the next one comes so soon, or with the next archive.
const DRILL_AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What the loop knows about time.
pub(super) struct Timer {
    /// From when on a scheduled run counts.
    anchor: Timestamp,
    /// A run that is wanted whatever the schedule says.
    wanted: Option<Cause>,
    /// After a failure: the instant of the next try.
    retry_at: Option<Timestamp>,
    drill_anchor: Timestamp,
    /// After a drill that failed: when it was, for it is held again before its schedule says so.
    drill_failed: Option<Timestamp>,
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
            drill_failed: None,
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

    /// Somebody else made or restored something; the newest archive is of `taken`, which may be long ago.
    pub(super) fn served_by_another(&mut self, taken: Timestamp) {
        self.served(taken.max(self.anchor));
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

    /// A drill ended, or its end was read in the catalogue: it may have been somebody else's.
    pub(super) fn drilled(&mut self, at: Timestamp, is_failed: bool) {
        if at < self.drill_anchor {
            return; // What came after it counts.
        }
        self.drill_anchor = at;
        self.drill_failed = is_failed.then_some(at);
    }

    /// The job that is due, and since when.
    pub(super) fn due(&mut self, config: &Config, now: Timestamp) -> Option<(Cause, Timestamp)> {
        if self.anchor > now {
            self.anchor = now; // The clock went back: the schedule goes on from here.
        }
        if self.holds_off(now).is_some() {
            return None;
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

    /// Until when a failure keeps the next try away; one long ahead was set by a clock that was wrong.
    fn holds_off(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at
            .filter(|retry_at| now < *retry_at && retry_at.duration_since(now) <= RETRY_AFTER)
    }

    /// When the next backup is planned: never in the past, whatever it waits for.
    pub(super) fn next_backup(&self, config: &Config, now: Timestamp) -> Option<Timestamp> {
        let after = |from| {
            let schedule = config.schedule.as_ref()?;
            schedule.next_after(from, &config.zone)
        };
        let planned = || {
            let due = after(self.anchor.min(now)).filter(|due| *due > now);
            due.or_else(|| after(now))
        };
        self.holds_off(now).or_else(planned)
    }

    /// Whether a drill is to be held; `newest` is the newest archive.
    pub(super) fn drill_is_due(
        &mut self,
        config: &Config,
        now: Timestamp,
        newest: Option<Timestamp>,
    ) -> bool {
        self.drill_anchor = self.drill_anchor.min(now);
        let Some(drill) = &config.drill else {
            return false;
        };
        let is_wanted_again = self.drill_failed.is_some_and(|failed| {
            let is_older = newest.is_some_and(|newest| newest > failed);
            is_older || now.duration_since(failed) >= DRILL_AGAIN_AFTER
        });
        is_wanted_again || drill.is_due(self.drill_anchor, now, &config.zone)
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
        assert!(timer.drill_is_due(&config(), now, None));
        timer.drilled(now, false);
        assert!(!timer.drill_is_due(&config(), now, None));
        assert!(timer.drill_is_due(&config(), at("2026-12-01T04:00:00+09:00"), None));
    }

    #[test]
    fn a_drill_that_failed_is_held_again_with_the_next_archive_or_the_next_day() {
        let now = at("2026-11-02T04:00:00+09:00");
        let mut timer = Timer::new(now, None, Some(now));
        timer.drilled(now, true);
        let (older, newer) = (at("2026-11-02T02:00:00+09:00"), now);
        let soon = at("2026-11-02T05:00:00+09:00");
        assert!(!timer.drill_is_due(&config(), soon, Some(older)));
        assert!(!timer.drill_is_due(&config(), soon, Some(newer)));
        assert!(timer.drill_is_due(&config(), soon, Some(at("2026-11-02T04:30:00+09:00"))));
        assert!(timer.drill_is_due(&config(), at("2026-11-03T04:00:00+09:00"), Some(older)));
        // Somebody else's passed meanwhile.
        timer.drilled(soon, false);
        assert!(!timer.drill_is_due(&config(), at("2026-11-03T04:00:00+09:00"), Some(older)));
        let off = Config::read(&mut Env::from_map([("BACKUP_DRILL_SCHEDULE", "off")]));
        timer.drilled(soon, true);
        assert!(!timer.drill_is_due(&off, at("2026-12-03T04:00:00+09:00"), None));
    }

    #[test]
    fn the_next_backup_is_told_as_it_will_be_after_a_failure_as_well() {
        let now = at("2026-11-28T02:00:30+09:00");
        let mut timer = Timer::new(now, Some(at("2026-11-27T02:00:00+09:00")), None);
        timer.failed(&config(), now, false);
        let again = Some(at("2026-11-28T03:00:30+09:00"));
        assert_eq!(timer.next_backup(&config(), now), again);
        // Due, but something else is waited for: a time that went by helps nobody.
        let later = at("2026-11-28T04:00:00+09:00");
        let tomorrow = Some(at("2026-11-29T02:00:00+09:00"));
        assert_eq!(timer.next_backup(&config(), later), tomorrow);
    }

    #[test]
    fn an_older_archive_of_somebody_else_brings_no_missed_run_back() {
        let now = at("2026-11-28T12:00:00+09:00");
        let mut timer = Timer::new(now, Some(at("2026-11-20T02:00:00+09:00")), None);
        timer.skip_missed(now);
        timer.served_by_another(at("2026-11-20T02:00:00+09:00"));
        assert_eq!(timer.due(&config(), now), None);
    }
}
