//! Speaking unasked (聞き耳): where the owner opened it, to people who opted in, seldom, and never twice in one
//! conversation.
//!
//! [`Ear`] decides, alone and pure: every free check comes before the first paid question. [`Ears`] holds one ear for
//! each channel, the notice that tells people of it, and their consents. Heard words are in memory only, and nobody
//! else's than those of people who opted in; of the others it is known that they said something: 「…」.
//! [`crate::turn::remark`] asks the judge and speaks.

mod ear;
mod ears;
mod judge;
mod notice;
#[cfg(test)]
mod tests;
mod why;
mod words;

pub use ear::{Call, Ear, Heard, Line, Moment, Quiet, Rules, Said};
pub use ears::{Cue, Ears, Overheard};
pub use judge::{is_silence, judge_prompt, remark_words, says_speak};
pub use notice::{look_after, notice_text};
pub use why::{Report, describe, few, reason, why};
