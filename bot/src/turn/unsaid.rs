//! Answers that are whole. One that Discord will not take yet is said at the next try, not asked and paid for again. In
//! memory alone: words are stored once they were said, and another life asks again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Rooms;
use super::outcome::{Ended, Trouble};
use super::speaker::Speaker;
use crate::notes::Note;
use crate::store::{Scope, Spent, Way};

/// Answers that may wait for Discord; the oldest gives way.
const MOST: usize = 64;

/// What is said at the end of a turn.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// What is remembered; nothing where nothing had come.
    pub(super) text: Option<String>,
    /// What is shown: with remarks, but for that of a new thread.
    pub(super) shown: String,
    /// Which buttons it has.
    pub(super) ending: Ending,
}

/// How an answer came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Whole {
        /// Whether there is more to ask for.
        has_more: bool,
    },
    /// No more was wanted.
    Stopped,
}

/// The answers that wait, and for which turns.
#[derive(Default)]
pub struct Unsaid(Mutex<VecDeque<(u64, Answer)>>);

impl std::fmt::Debug for Unsaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unsaid")
            .field(&self.waiting().len())
            .finish()
    }
}

impl Unsaid {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, Answer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, turn: u64, answer: Answer) {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        waiting.push_back((turn, answer));
    }

    /// Takes out what waits for a turn: to be said, or because the turn is over.
    pub(super) fn take(&self, turn: u64) -> Option<Answer> {
        let mut waiting = self.waiting();
        let at = waiting.iter().position(|(id, _)| *id == turn)?;
        waiting.remove(at).map(|(_, answer)| answer)
    }

    /// Keeps only what waits for turns that are still open: the others were deleted or forgotten meanwhile.
    pub(crate) fn keep_open(&self, is_open: impl Fn(u64) -> bool) {
        self.waiting().retain(|(id, _)| is_open(*id));
    }
}

/// Says an answer. What it took is booked in any case: with the end of the turn, or at once when Discord will not have it.
pub(super) async fn say(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    answer: Answer,
    spent: Option<Spent>,
) -> Result<Ended, Trouble> {
    match show(rooms, speaker, &answer).await {
        Ok(ended) => Ok(Ended {
            answer: answer.text,
            spent,
            ..ended
        }),
        Err(trouble) => {
            if let Some(spent) = spent {
                rooms.store.spend(spent).await.ok();
            }
            // In the place of another answer it is not looked for again.
            if speaker.turn.again.is_none() {
                rooms.unsaid.keep(speaker.turn.inbound.id, answer);
            }
            Err(trouble)
        }
    }
}

async fn show(rooms: &Rooms, speaker: &mut Speaker<'_>, answer: &Answer) -> Result<Ended, Trouble> {
    let mut shown = answer.shown.clone();
    if let Some(remark) = of_thread(rooms, speaker).await? {
        shown = format!("{shown}\n{remark}");
    }
    let shown = shown.trim_start();
    match answer.ending {
        Ending::Whole { has_more } => speaker.answer(shown, has_more).await,
        Ending::Stopped => speaker.stopped(shown).await,
    }
}

/// What a new thread's first answer says of the thread, once. No part of what is remembered.
async fn of_thread(rooms: &Rooms, speaker: &Speaker<'_>) -> Result<Option<&'static str>, Trouble> {
    let turn = speaker.turn;
    let Scope::Thread(thread) = speaker.place.scope else {
        return Ok(None);
    };
    let is_first = match turn.way {
        Way::Mention => true,
        Way::FollowUp => {
            let first = rooms.store.is_first_answer(thread, turn.inbound.id);
            first.await.map_err(Trouble::Store)?
        }
        _ => false,
    };
    Ok(is_first.then(|| Note::new_thread(rooms.manner.language)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            text: Some(text.to_owned()),
            shown: text.to_owned(),
            ending: Ending::Stopped,
        }
    }

    #[test]
    fn what_waits_is_said_once_and_the_oldest_gives_way() {
        let unsaid = Unsaid::default();
        for id in 0..=MOST as u64 {
            unsaid.keep(id, answer("はい"));
        }
        assert!(unsaid.take(0).is_none());
        assert!(unsaid.take(1).is_some_and(|said| said == answer("はい")));
        assert!(unsaid.take(1).is_none());
    }

    #[test]
    fn of_turns_that_are_open_no_more_nothing_waits_and_no_word_is_printed() {
        let unsaid = Unsaid::default();
        unsaid.keep(1, answer("ひみつ"));
        unsaid.keep(2, answer("ひみつ"));
        assert_eq!(format!("{unsaid:?}"), "Unsaid(2)");
        unsaid.keep_open(|id| id == 2);
        assert!(unsaid.take(1).is_none());
        assert!(unsaid.take(2).is_some());
    }
}
