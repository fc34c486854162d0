//! Slash commands, message menus and buttons: what they are called, who may use them, what they answer.
//!
//! Every one is acknowledged at once and answered to the asker alone; only then anything slow begins.

mod again;
mod answer;
mod channel;
mod chat;
mod definitions;
mod held;
mod mydata;
mod overhear;
mod people;
mod request;
mod speak;
#[cfg(test)]
mod tests;
mod usage;

pub use answer::{Desk, Stopping, Under, buttons, register, serve};
pub use channel::{Changes, Channels};
pub use chat::since_reset;
pub use definitions::definitions;
pub use held::{nameless, still_held};
pub use overhear::{consent_buttons, remark_buttons};
pub use people::company;
pub use request::{Button, Request};
