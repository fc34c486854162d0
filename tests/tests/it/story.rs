//! What several stories share.

use std::thread;
use std::time::{Duration, Instant};

use tests::world::{Id, Message};
use tests::{House, PATIENCE, World};

/// How a turn ended, as the store writes it.
pub(crate) mod state {
    pub(crate) const ANSWERED: i64 = 1;
    pub(crate) const FAILED: i64 = 2;
    pub(crate) const EXPIRED: i64 = 3;
    pub(crate) const UNDELIVERABLE: i64 = 4;
    pub(crate) const REMOVED: i64 = 5;
}

/// Waits until the store says how the turn of a message ended.
pub(crate) fn settled(house: &House, said: Id) -> i64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = house
            .database()
            .exists()
            .then(|| house.look())
            .and_then(|store| {
                store
                    .query_row(
                        "SELECT state FROM turns WHERE id = ?1 AND state > 0",
                        [said.cast_signed()],
                        |row| row.get::<_, i64>(0),
                    )
                    .ok()
            });
        if let Some(state) = found {
            return state;
        }
        assert!(Instant::now() < until, "the turn of {said} never ended");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a turn has ended and gives the one message that answers it.
pub(crate) fn only_answer(world: &World, house: &House, said: Id) -> (i64, Message) {
    let state = settled(house, said);
    let answers = world.answers(said);
    assert_eq!(answers.len(), 1, "not exactly one answer: {answers:#?}");
    world.with(|world| world.messages.get_mut(&answers[0].id).unwrap().expected = true);
    (state, answers[0].clone())
}

/// What was answered to a command or button: in time, and seen by its asker alone.
pub(crate) fn words(world: &World, asked: Id) -> String {
    let answered = world.answered(asked);
    assert_eq!(
        answered.answered,
        Some(5),
        "acknowledged before anything slow"
    );
    assert_eq!(answered.callback["data"]["flags"], 64, "as a quiet answer");
    assert!(
        answered
            .answers
            .iter()
            .all(|answer| answer.ephemeral && answer.pings == 0)
    );
    answered
        .answers
        .iter()
        .map(|answer| answer.content.as_str())
        .collect()
}

/// The files that came with the answer to a command, one after the other.
pub(crate) fn files(world: &World, asked: Id) -> String {
    let answers = world.answered(asked).answers;
    let files = answers.iter().flat_map(|answer| {
        answer.body["__files"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    files
        .map(|file| file["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// How many messages the store keeps whose words are like `pattern`.
pub(crate) fn stored(house: &House, pattern: &str) -> i64 {
    house
        .look()
        .query_row(
            "SELECT count(*) FROM messages WHERE text LIKE ?1",
            [pattern],
            |row| row.get(0),
        )
        .unwrap()
}

/// A sentence that nobody needs to be afraid of: words for people, no codes, nothing raw.
pub(crate) fn is_kind(text: &str) -> bool {
    let raw = [
        "SECRET-RAW-ERROR",
        "rror:",
        "429",
        "500",
        "529",
        "json",
        "panick",
        "http",
        "None",
    ];
    !text.trim().is_empty()
        && text.chars().count() < 400
        && !raw.iter().any(|mark| text.contains(mark))
}
