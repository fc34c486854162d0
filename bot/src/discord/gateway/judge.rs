//! What a broken connection means, and when an IDENTIFY may be sent. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::{Cause, Identify};

/// What to do after a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with the session: nothing is lost.
    Resume,
    /// Begin a new session.
    Identify,
    /// Discord does not let us read message content: begin again without asking for it.
    WithoutContent,
    /// Asking again would be refused again.
    Park(Refusal),
}

/// Why asking again is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is wrong.
    Token,
    /// The intents are not allowed, not even without content.
    Intents,
    /// Discord has outgrown this program: shards or API version.
    Outgrown(u16),
}

/// What a close code asks for.
#[must_use]
pub(super) fn after_close(code: Option<u16>, asked_content: bool) -> Next {
    match code {
        Some(4004) => Next::Park(Refusal::Token),
        Some(4014) if asked_content => Next::WithoutContent,
        Some(4013 | 4014) => Next::Park(Refusal::Intents),
        Some(code @ 4010..=4012) => Next::Park(Refusal::Outgrown(code)),
        // Not authenticated, session gone, wrong place in it, session too old.
        Some(4003 | 4006 | 4007 | 4009) => Next::Identify,
        _ => Next::Resume,
    }
}

/// How far apart IDENTIFYs after faults must be, by how many there were in the last day: together never more than
/// fifty. Discord resets the token of whoever sends a thousand.
const SPACING: [(usize, Duration); 4] = [
    (10, Duration::from_secs(5)),
    (20, Duration::from_mins(1)),
    (35, Duration::from_mins(20)),
    (usize::MAX, Duration::from_mins(80)),
];

/// The same for starts, by how many IDENTIFYs of any cause there were in the last day. Whoever restarts by hand never
/// waits; a container that dies again and again is started about every minute, which alone would be more than a thousand.
const SPACING_OF_STARTS: [(usize, Duration); 3] = [
    (60, Duration::ZERO),
    (300, Duration::from_mins(5)),
    (usize::MAX, Duration::from_mins(20)),
];

/// So few that are left count as none: the last one of a day costs the token.
const KEPT_BACK: u64 = 10;

/// How long to wait before the next IDENTIFY. `recent` are those of the last day, oldest first.
#[must_use]
pub(super) fn identify_wait(
    now: Timestamp,
    recent: &[Identify],
    cause: Cause,
    remaining: u64,
    reset_after: Duration,
) -> Duration {
    let by_discord = if remaining <= KEPT_BACK {
        reset_after.max(Duration::from_mins(1))
    } else {
        Duration::ZERO
    };
    let spacing = match cause {
        Cause::Start => spacing(&SPACING_OF_STARTS, recent.len()),
        Cause::Fault => {
            let is_fault = |identify: &&Identify| identify.cause == Cause::Fault;
            spacing(&SPACING, recent.iter().filter(is_fault).count())
        }
    };
    let since = recent
        .last()
        .and_then(|last| Duration::try_from(now.duration_since(last.at)).ok());
    // A clock that jumped back makes the last one lie in the future: then the whole gap is kept.
    let own = since.map_or(spacing, |since| spacing.saturating_sub(since));
    own.max(by_discord)
}

fn spacing(steps: &[(usize, Duration)], count: usize) -> Duration {
    let step = steps.iter().find(|(below, _)| count < *below);
    step.map_or(Duration::ZERO, |(_, gap)| *gap)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn every_documented_close_code_has_its_consequence() {
        let expect = [
            (4000, Next::Resume),
            (4001, Next::Resume),
            (4002, Next::Resume),
            (4003, Next::Identify),
            (4004, Next::Park(Refusal::Token)),
            (4005, Next::Resume),
            (4006, Next::Identify),
            (4007, Next::Identify),
            (4008, Next::Resume),
            (4009, Next::Identify),
            (4010, Next::Park(Refusal::Outgrown(4010))),
            (4011, Next::Park(Refusal::Outgrown(4011))),
            (4012, Next::Park(Refusal::Outgrown(4012))),
            (4013, Next::Park(Refusal::Intents)),
            (4014, Next::WithoutContent),
            (1000, Next::Resume),
            (1006, Next::Resume),
        ];
        for (code, next) in expect {
            assert_eq!(after_close(Some(code), true), next, "{code}");
        }
        assert_eq!(after_close(Some(4014), false), Next::Park(Refusal::Intents));
        assert_eq!(after_close(None, true), Next::Resume);
    }

    #[test]
    fn a_day_of_faults_never_takes_more_than_fifty_identifies() {
        let begin: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let mut now = begin;
        let mut sent: Vec<Identify> = Vec::new();
        // Three days of a gateway that drops every session at once.
        while now < begin + SignedDuration::from_hours(72) {
            let day: Vec<Identify> = sent
                .iter()
                .copied()
                .filter(|identify| identify.at > now - SignedDuration::from_hours(24))
                .collect();
            let wait = identify_wait(now, &day, Cause::Fault, 1000, Duration::ZERO);
            if wait.is_zero() {
                assert!(day.len() < 50, "{} in a day", day.len() + 1);
                sent.push(Identify {
                    at: now,
                    cause: Cause::Fault,
                });
                now += SignedDuration::from_secs(1);
            } else {
                now += SignedDuration::try_from(wait).unwrap();
            }
        }
    }

    #[test]
    fn a_start_by_hand_does_not_wait_unless_discord_says_so() {
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let recent = vec![
            Identify {
                at: now,
                cause: Cause::Start
            };
            50
        ];
        let wait = |remaining| {
            let hours = Duration::from_hours(3);
            identify_wait(now, &recent, Cause::Start, remaining, hours)
        };
        assert_eq!(wait(700), Duration::ZERO);
        assert_eq!(wait(KEPT_BACK), Duration::from_hours(3));
        assert_eq!(wait(0), Duration::from_hours(3));
    }

    #[test]
    fn a_day_of_deaths_right_after_the_start_stays_far_from_a_thousand_identifies() {
        let begin: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let (mut now, mut sent) = (begin, Vec::new());
        while now < begin + SignedDuration::from_hours(48) {
            let since = now - SignedDuration::from_hours(24);
            let day: Vec<Identify> = sent
                .iter()
                .copied()
                .filter(|one: &Identify| one.at > since)
                .collect();
            let wait = identify_wait(now, &day, Cause::Start, 1000, Duration::ZERO);
            now += SignedDuration::try_from(wait).unwrap();
            assert!(day.len() < 400, "{} in a day", day.len() + 1);
            sent.push(Identify {
                at: now,
                cause: Cause::Start,
            });
            // It dies, and the engine waits a little before it starts it again.
            now += SignedDuration::from_secs(10);
        }
    }

    #[test]
    fn a_clock_that_jumped_back_does_not_hold_for_a_year() {
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let later = now + SignedDuration::from_hours(23);
        let recent = [Identify {
            at: later,
            cause: Cause::Fault,
        }];
        assert_eq!(
            identify_wait(now, &recent, Cause::Fault, 900, Duration::ZERO),
            Duration::from_secs(5)
        );
    }
}
