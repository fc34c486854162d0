//! This room decides what may go, with a reason for each; the hands that delete are in `sweep.rs`. No clock, no disk.

use std::fmt;

/// What stands against the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who wrote it.
    pub service: String,
    /// When it was closed, in milliseconds since 1970.
    pub closed: i64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Every sink has acknowledged it (or there is no sink).
    pub forwarded: bool,
}

/// The owner's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Days a segment is kept.
    pub days: u32,
    /// Bytes that everything in `logs/` may take.
    pub total_bytes: u64,
    /// Bytes that stay free on the disk.
    pub free_bytes: u64,
}

/// How the disk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of files that are never candidates (active ones).
    pub other_bytes: u64,
    /// Free bytes; `None` when the file system does not say.
    pub free: Option<u64>,
    /// Now, in milliseconds since 1970.
    pub now: i64,
}

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Older than the days of the policy.
    Age,
    /// The directory takes more than the policy allows.
    TotalSize,
    /// The disk has less free than the policy wants.
    FreeSpace,
    /// Not forwarded yet, but twice the allowed size is reached: announced, because lines are lost to the sink.
    HardCap,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Age => "age",
            Reason::TotalSize => "total size",
            Reason::FreeSpace => "free space",
            Reason::HardCap => "hard cap, not forwarded yet",
        })
    }
}

/// The plan: per candidate its fate, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Per candidate, in the given order: `Some` = goes.
    pub fates: Vec<Option<Reason>>,
    /// Segments that would go but wait for a sink.
    pub waiting: usize,
    /// Bytes in all afterwards.
    pub bytes_after: u64,
}

const DAY: i64 = 86_400_000;
/// A hole in the record longer than this is not age: the NAS was off, or its clock jumped.
const LONGEST_GAP: i64 = 2 * DAY;
/// What is not forwarded is kept up to this many times the allowed size.
const HARD_CAP: u64 = 2;

/// Plans over closed segments, which must be in order of closing, oldest first.
#[must_use]
pub fn plan(candidates: &[Candidate], policy: &Policy, room: &Room) -> Plan {
    let ages = ages(candidates, room.now);
    let mut total = room.other_bytes
        + candidates
            .iter()
            .map(|candidate| candidate.bytes)
            .sum::<u64>();
    let mut free = room.free;
    let mut plan = Plan {
        fates: vec![None; candidates.len()],
        ..Plan::default()
    };
    for (at, candidate) in candidates.iter().enumerate() {
        let newest = !candidates[at + 1..]
            .iter()
            .any(|later| later.service == candidate.service);
        let reason = if ages[at] > i64::from(policy.days) * DAY {
            Reason::Age
        } else if total > policy.total_bytes {
            Reason::TotalSize
        } else if free.is_some_and(|free| free < policy.free_bytes) {
            Reason::FreeSpace
        } else {
            continue;
        };
        if newest {
            continue;
        }
        let reason = match (
            candidate.forwarded,
            total > policy.total_bytes.saturating_mul(HARD_CAP),
        ) {
            (true, _) => reason,
            // A disk that is nearly full is worse than a sink that misses lines.
            (false, true) => Reason::HardCap,
            (false, false) if free.is_some_and(|free| free < policy.free_bytes / 4) => {
                Reason::HardCap
            }
            (false, false) => {
                plan.waiting += 1;
                continue;
            }
        };
        plan.fates[at] = Some(reason);
        total -= candidate.bytes;
        free = free.map(|free| free + candidate.bytes);
    }
    plan.bytes_after = total;
    plan
}

/// Age as *recorded* time: the gaps between neighbours added up, each counted as two days at most. A clock that
/// jumps a year ahead, or a NAS that slept for a summer, therefore makes nothing old at once.
fn ages(candidates: &[Candidate], now: i64) -> Vec<i64> {
    let mut ages = vec![0; candidates.len()];
    let (mut age, mut later) = (0, now);
    for (at, candidate) in candidates.iter().enumerate().rev() {
        age += (later - candidate.closed).clamp(0, LONGEST_GAP);
        later = candidate.closed;
        ages[at] = age;
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        days: 30,
        total_bytes: 1_000,
        free_bytes: 100,
    };

    fn bot(day: i64, bytes: u64) -> Candidate {
        Candidate {
            service: "bot".into(),
            closed: day * DAY,
            bytes,
            forwarded: true,
        }
    }

    fn room(day: i64) -> Room {
        Room {
            other_bytes: 0,
            free: Some(10_000),
            now: day * DAY,
        }
    }

    #[test]
    fn age_takes_the_old_and_leaves_the_rest() {
        let days: Vec<Candidate> = (0..40).map(|day| bot(day, 1)).collect();
        let plan = plan(&days, &POLICY, &room(40));
        assert_eq!(
            plan.fates
                .iter()
                .filter(|fate| **fate == Some(Reason::Age))
                .count(),
            10
        );
        assert!(plan.fates[..10].iter().all(Option::is_some));
        assert_eq!(plan.bytes_after, 30);
    }

    #[test]
    fn a_clock_that_jumps_a_year_makes_nothing_old() {
        let days: Vec<Candidate> = (0..20).map(|day| bot(day, 1)).collect();
        assert!(
            plan(&days, &POLICY, &room(385))
                .fates
                .iter()
                .all(Option::is_none)
        );
        // Nor does one that jumps back.
        assert!(
            plan(&days, &POLICY, &room(-500))
                .fates
                .iter()
                .all(Option::is_none)
        );
    }

    #[test]
    fn size_and_free_space_take_the_oldest_first() {
        let days: Vec<Candidate> = (0..5).map(|day| bot(day, 300)).collect();
        let by_size = plan(&days, &POLICY, &room(5));
        assert_eq!(
            by_size.fates,
            [
                Some(Reason::TotalSize),
                Some(Reason::TotalSize),
                None,
                None,
                None
            ]
        );
        let tight = Room {
            free: Some(50),
            ..room(5)
        };
        let by_room = plan(&days[..3], &POLICY, &tight);
        assert_eq!(by_room.fates, [Some(Reason::FreeSpace), None, None]);
    }

    #[test]
    fn what_is_not_forwarded_waits_until_the_hard_cap() {
        let waiting = |bytes| Candidate {
            forwarded: false,
            ..bot(0, bytes)
        };
        let soft = plan(
            &[waiting(600), waiting(600), bot(1, 100)],
            &POLICY,
            &room(2),
        );
        assert_eq!((soft.waiting, soft.bytes_after), (2, 1_300));
        assert!(soft.fates[0].is_none());
        let hard = plan(
            &[waiting(1_500), waiting(900), bot(1, 100)],
            &POLICY,
            &room(2),
        );
        assert_eq!(hard.fates[0], Some(Reason::HardCap));
    }

    proptest! {
        #[test]
        fn the_newest_of_each_service_always_stays(
            files in proptest::collection::vec((0_usize..3, 0_i64..400, 0_u64..3_000, any::<bool>()), 0..40),
            now in -1_000_i64..5_000, free in proptest::option::of(0_u64..500), other in 0_u64..5_000,
        ) {
            let mut files: Vec<Candidate> = files.into_iter().map(|(service, day, bytes, forwarded)| Candidate {
                service: ["bot", "backup-sidecar", "log-shipper"][service].into(), closed: day * DAY, bytes, forwarded,
            }).collect();
            files.sort_by_key(|file| file.closed);
            let room = Room { other_bytes: other, free, now: now * DAY };
            let made = plan(&files, &POLICY, &room);
            for service in ["bot", "backup-sidecar", "log-shipper"] {
                if let Some(at) = files.iter().rposition(|file| file.service == service) {
                    prop_assert!(made.fates[at].is_none());
                }
            }
            let before: u64 = other + files.iter().map(|file| file.bytes).sum::<u64>();
            let gone: u64 = files.iter().zip(&made.fates).filter(|(_, fate)| fate.is_some()).map(|(file, _)| file.bytes).sum();
            prop_assert_eq!(made.bytes_after, before - gone);
            for (file, fate) in files.iter().zip(&made.fates) {
                prop_assert!(file.forwarded || matches!(fate, None | Some(Reason::HardCap)));
            }
        }
    }
}
