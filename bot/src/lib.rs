//! bot.

pub mod discord;
pub mod store;
