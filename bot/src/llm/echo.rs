//! No model at all: says back what was said, so that everything else can be tried without an account.

use super::wire::{Halt, Piece};
use super::{Prompt, Role};

/// The last thing a member said, in small pieces, as a model would stream it.
pub(super) fn answer(prompt: &Prompt) -> Vec<Piece> {
    let said = prompt
        .utterances
        .iter()
        .rev()
        .find(|said| said.role == Role::Member);
    let said = said.map(|said| said.text.as_str()).unwrap_or_default();
    let mut pieces: Vec<Piece> = said
        .split_inclusive([' ', '。', '\n'])
        .map(|piece| Piece::Text(piece.to_owned()))
        .collect();
    pieces.extend([
        Piece::Input(0),
        Piece::Output(0),
        Piece::Halt(Halt::End),
        Piece::Done,
    ]);
    pieces
}
