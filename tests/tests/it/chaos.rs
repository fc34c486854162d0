//! Short forms of the chaos runs; `cargo chaos` has the long ones.

use tests::chaos::{Plan, bot};

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
