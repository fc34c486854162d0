//! What was said before in a conversation, as a prompt wants it.

use super::outcome::Trouble;
use super::{Rooms, Turn};
use crate::store::{Remembered, Role, Scope};
use crate::{commands, prompt};

/// Within what a prompt may hold, and since the last reset.
pub(super) async fn history(
    rooms: &Rooms,
    turn: &Turn,
    scope: Scope,
) -> Result<Vec<prompt::Turn>, Trouble> {
    // Three bytes a character and about a token a character: more would not fit the prompt anyway.
    let bytes = rooms.manner.context_tokens as usize * 6;
    let remembered = rooms
        .store
        .history(scope, turn.inbound.id, bytes)
        .await
        .map_err(Trouble::Store)?;
    let remembered = commands::since_reset(&rooms.store, scope, remembered)
        .await
        .map_err(Trouble::Store)?;
    Ok(pair_up(remembered))
}

/// Questions with their answers; a question that never got one stands alone.
fn pair_up(remembered: Vec<Remembered>) -> Vec<prompt::Turn> {
    let mut turns: Vec<prompt::Turn> = Vec::new();
    for said in remembered {
        match said.role {
            Role::Member => turns.push(prompt::Turn {
                question: said.text,
                answer: String::new(),
            }),
            Role::Companion => match turns.last_mut().filter(|turn| turn.answer.is_empty()) {
                Some(turn) => turn.answer = said.text,
                None => turns.push(prompt::Turn {
                    question: String::new(),
                    answer: said.text,
                }),
            },
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn said(role: Role, text: &str) -> Remembered {
        Remembered {
            role,
            text: text.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn questions_and_answers_find_each_other() {
        let turns = pair_up(vec![
            said(Role::Companion, "hello first"),
            said(Role::Member, "one"),
            said(Role::Member, "two"),
            said(Role::Companion, "answer"),
        ]);
        let pairs: Vec<(&str, &str)> = turns
            .iter()
            .map(|turn| (turn.question.as_str(), turn.answer.as_str()))
            .collect();
        assert_eq!(pairs, [("", "hello first"), ("one", ""), ("two", "answer")]);
    }
}
