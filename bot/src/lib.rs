//! The companion: answers members on Discord and keeps their words where they were said.
//!
//! The straight line: event → inbound ([`intake`]) → route ([`router`]) → mailbox ([`conversation`]) →
//! [`begin_turn`](store::Store::begin_turn) → [`prompt`] → complete, streaming ([`llm`]) → [`reply`] →
//! [`finish_turn`](store::Store::finish_turn). [`turn`] is the line itself; the rest are its rooms.
//!
//! Discord is named in [`discord`] alone, SQLite in [`store`] alone, models in [`llm`] alone.

pub mod alerts;
pub mod budget;
pub mod catch_up;
pub mod cli;
pub mod commands;
pub mod config;
pub mod conversation;
pub mod discord;
pub mod distress;
pub mod health;
pub mod intake;
pub mod limits;
pub mod llm;
pub mod manners;
pub mod model_watch;
pub mod notes;
pub mod overhear;
pub mod owner;
pub mod persona;
pub mod prices;
pub mod prompt;
pub mod purse;
pub mod reply;
pub mod router;
pub mod settings;
pub mod start;
pub mod store;
pub mod tally;
pub mod turn;

mod house;
mod phrases;

pub use house::Bot;
