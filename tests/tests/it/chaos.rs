//! Short forms of the chaos runs; `cargo chaos` has the long ones.

use tests::chaos::power::{self, Subject};
use tests::chaos::{Plan, bot};
use tests::disk::Disk;

#[test]
fn every_mention_ends_with_exactly_one_reply_whenever_the_bot_is_killed() {
    let outcome = bot(
        Plan {
            rounds: 8,
            mentions: 10,
            seed: 20_261_128,
            replay: 0.3,
        },
        |_| (),
    );
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert_eq!(outcome.kills, 8);
    assert!(outcome.mentions >= 80);
}

#[test]
fn a_power_cut_breaks_no_promise_of_any_program() {
    if let Some(why) = Disk::unavailable() {
        eprintln!("SKIPPED: no loop disks here: {why}");
        return;
    }
    for (subject, seed) in [
        (Subject::Bot, 3),
        (Subject::Sidecar, 4),
        (Subject::Shipper, 5),
    ] {
        let outcome = power::run(subject, 3, seed).unwrap();
        assert!(
            outcome.violations.is_empty(),
            "{subject:?}: {:#?}",
            outcome.violations
        );
        assert_eq!(outcome.kills, 3);
    }
}
