use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;
const NOW: i64 = 1_790_000_000;

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn archive(second: i64) -> Candidate {
    Candidate {
        name: format!("backup_{second}"),
        taken: instant(second),
        good: true,
        unproved: false,
    }
}

fn policy(days: u32, last: u32) -> Policy {
    Policy {
        days,
        last,
        daily: 0,
        weekly: 0,
        monthly: 0,
        yearly: 0,
    }
}

fn kept(verdicts: &[Verdict]) -> Vec<&str> {
    let kept = verdicts.iter().filter(|verdict| !verdict.goes());
    kept.map(|verdict| verdict.name.as_str()).collect()
}

#[test]
fn seven_days_of_nightly_archives_stay() {
    let archives: Vec<_> = (0..30).map(|day| archive(NOW - day * DAY)).collect();
    let verdicts = plan(
        &archives,
        &policy(7, 3),
        &TimeZone::UTC,
        instant(NOW + 5),
        false,
    );
    assert_eq!(kept(&verdicts).len(), 7);
    assert_eq!(
        verdicts[0].kept_by,
        [Reason::Newest, Reason::Floor, Reason::Days]
    );
    assert_eq!(verdicts[6].kept_by, [Reason::Days]);
    assert!(verdicts[7].goes());
}

#[test]
fn rules_unite() {
    let archives: Vec<_> = (0..400).map(|day| archive(NOW - day * DAY)).collect();
    let wanted = Policy {
        days: 2,
        last: 1,
        daily: 4,
        weekly: 3,
        monthly: 3,
        yearly: 2,
    };
    let verdicts = plan(&archives, &wanted, &TimeZone::UTC, instant(NOW), false);
    let count = |reason| {
        verdicts
            .iter()
            .filter(|verdict| verdict.kept_by.contains(&reason))
            .count()
    };
    assert_eq!(count(Reason::Days), 2);
    assert_eq!(count(Reason::Daily), 4);
    assert_eq!(count(Reason::Weekly), 3);
    assert_eq!(count(Reason::Monthly), 3);
    assert_eq!(count(Reason::Yearly), 2);
}

#[test]
fn a_clock_a_year_ahead_deletes_nothing_at_once_and_never_the_floor() {
    let mut archives: Vec<_> = (0..7).map(|day| archive(NOW - day * DAY)).collect();
    let ahead = NOW + 365 * DAY;
    archives.push(archive(ahead));
    let verdicts = plan(
        &archives,
        &policy(7, 3),
        &TimeZone::UTC,
        instant(ahead + 5),
        false,
    );
    assert_eq!(kept(&verdicts).len(), 8);
    // The clock is put right: the archive from the future is still there, and so is everything fresh.
    archives.push(archive(NOW + DAY));
    let verdicts = plan(
        &archives,
        &policy(7, 3),
        &TimeZone::UTC,
        instant(NOW + DAY + 5),
        false,
    );
    assert!(
        verdicts
            .iter()
            .find(|verdict| verdict.name == archive(NOW + DAY).name)
            .is_some_and(|v| !v.goes())
    );
    assert!(kept(&verdicts).len() >= 8);
}

#[test]
fn what_a_clock_far_ahead_dated_takes_no_others_place() {
    let mut archives: Vec<_> = (0..5).map(|day| archive(NOW - day * DAY)).collect();
    archives.extend((300..304).map(|day| archive(NOW + day * DAY)));
    // Without days to keep, only its rank keeps an archive.
    let rules = policy(0, 3);
    let verdicts = plan(&archives, &rules, &TimeZone::UTC, instant(NOW + 5), false);
    let (ahead, rest) = verdicts.split_at(4);
    assert!(
        ahead
            .iter()
            .all(|verdict| verdict.kept_by == [Reason::Ahead])
    );
    assert_eq!(rest[0].kept_by, [Reason::Newest, Reason::Floor]);
    assert_eq!(kept(rest).len(), 3);
}

#[test]
fn weeks_without_power_leave_the_old_ones() {
    let mut archives: Vec<_> = (40..60).map(|day| archive(NOW - day * DAY)).collect();
    archives.push(archive(NOW));
    let verdicts = plan(
        &archives,
        &policy(7, 3),
        &TimeZone::UTC,
        instant(NOW),
        false,
    );
    assert_eq!(kept(&verdicts).len(), 8);
}

#[test]
fn damaged_archives_count_for_nothing_and_age_out_only_after_a_good_one() {
    let mut damaged = archive(NOW);
    damaged.good = false;
    let mut old_damaged = archive(NOW - 20 * DAY);
    old_damaged.good = false;
    let archives = [damaged, archive(NOW - 10 * DAY), old_damaged];
    let verdicts = plan(
        &archives,
        &policy(7, 1),
        &TimeZone::UTC,
        instant(NOW),
        false,
    );
    assert_eq!(verdicts[0].kept_by, [Reason::NoSuccessor, Reason::Days]);
    assert_eq!(
        verdicts[1].kept_by,
        [Reason::Newest, Reason::Floor, Reason::Days]
    );
    assert!(verdicts[2].goes());
}

#[test]
fn what_nobody_could_prove_stays_like_the_good_and_takes_no_place_of_theirs() {
    let unproved = |day: i64| Candidate {
        good: false,
        unproved: true,
        ..archive(NOW - day * DAY)
    };
    // The catalogue was lost, and every sealed archive's proof with it.
    let mut archives: Vec<_> = (0..5).map(unproved).collect();
    let rules = policy(0, 2);
    let judged =
        |archives: &[Candidate]| plan(archives, &rules, &TimeZone::UTC, instant(NOW), false);
    assert_eq!(kept(&judged(&archives)).len(), 5, "none of them is proved");
    archives.push(archive(NOW - 7 * DAY));
    archives.push(archive(NOW - 8 * DAY));
    archives.push(archive(NOW - 9 * DAY));
    let verdicts = judged(&archives);
    assert!(verdicts[..5].iter().all(|verdict| !verdict.goes()));
    assert_eq!(verdicts[5].kept_by, [Reason::Newest, Reason::Floor]);
    assert_eq!(verdicts[6].kept_by, [Reason::Floor]);
    assert!(verdicts[7].goes());
    // A proved successor: now the floor of all bounds them.
    let archives: Vec<_> = std::iter::once(archive(NOW))
        .chain((1..5).map(unproved))
        .collect();
    assert_eq!(kept(&judged(&archives)).len(), 2);
}

#[test]
fn a_freeze_keeps_everything() {
    let archives: Vec<_> = (0..90).map(|day| archive(NOW - day * DAY)).collect();
    let verdicts = plan(&archives, &policy(7, 3), &TimeZone::UTC, instant(NOW), true);
    assert_eq!(kept(&verdicts).len(), 90);
}

proptest! {
    #[test]
    fn never_empty_never_below_the_floor_never_the_newest(
        seconds in prop::collection::btree_set(0_i64..4_000_000_000, 0..40), bad in prop::collection::vec(any::<bool>(), 40),
        now in 0_i64..4_000_000_000, days in 0_u32..40, last in 1_u32..6, daily in 0_u32..4, yearly in 0_u32..3,
    ) {
        let archives: Vec<_> = seconds
            .iter()
            .zip(&bad)
            .map(|(second, bad)| Candidate { good: !bad, ..archive(*second) })
            .collect();
        let policy = Policy { daily, yearly, ..policy(days, last) };
        let verdicts = plan(&archives, &policy, &TimeZone::UTC, instant(now), false);
        prop_assert_eq!(verdicts.len(), archives.len());
        let good: Vec<_> = archives.iter().rev().filter(|archive| archive.good).collect();
        for (rank, archive) in good.iter().enumerate() {
            let verdict = verdicts.iter().find(|verdict| verdict.name == archive.name).unwrap();
            prop_assert!(rank >= last as usize || !verdict.goes());
        }
        // Nothing goes that has no good successor.
        for verdict in verdicts.iter().filter(|verdict| verdict.goes()) {
            let gone = archives.iter().find(|archive| archive.name == verdict.name).unwrap();
            prop_assert!(good.first().is_some_and(|newest| newest.taken > gone.taken));
        }
    }

    #[test]
    fn a_second_look_at_what_stayed_deletes_nothing(
        seconds in prop::collection::btree_set(1_000_000_000_i64..2_000_000_000, 1..40), days in 0_u32..400,
    ) {
        let archives: Vec<_> = seconds.iter().map(|second| archive(*second)).collect();
        let now = instant(2_000_000_000);
        let policy = Policy { daily: 3, weekly: 2, monthly: 2, yearly: 2, ..policy(days, 3) };
        let verdicts = plan(&archives, &policy, &TimeZone::UTC, now, false);
        let names = kept(&verdicts);
        let left: Vec<_> = archives.iter().filter(|archive| names.contains(&archive.name.as_str())).cloned().collect();
        let again = plan(&left, &policy, &TimeZone::UTC, now, false);
        prop_assert!(again.iter().all(|verdict| !verdict.goes()));
    }
}
