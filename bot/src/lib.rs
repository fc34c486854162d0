//! bot.

pub mod budget;
pub mod discord;
pub mod distress;
pub mod limits;
pub mod llm;
pub mod manners;
pub mod persona;
pub mod prices;
pub mod prompt;
pub mod reply;
pub mod settings;
pub mod store;
