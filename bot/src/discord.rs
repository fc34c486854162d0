//! Our own vocabulary for Discord. Only the rooms below name its libraries and its wire shapes.

pub mod gateway;
pub mod interaction;
pub mod places;
pub mod rest;
pub mod wire;

use jiff::Timestamp;

pub use interaction::Interaction;
pub use places::{Place, PlaceKind, Places};
pub use rest::Rest;

/// Discord counts its milliseconds from here.
const EPOCH_MS: i64 = 1_420_070_400_000;

/// When the thing with this id was made, by Discord's clock.
#[must_use]
pub fn made_at(id: u64) -> Timestamp {
    Timestamp::from_millisecond((id >> 22) as i64 + EPOCH_MS).unwrap_or_default()
}

/// The smallest id that could be made at `at`.
#[must_use]
pub fn id_at(at: Timestamp) -> u64 {
    ((at.as_millisecond() - EPOCH_MS).max(0) as u64) << 22
}

/// A message that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Its id: the key of the inbox.
    pub id: u64,
    /// Where.
    pub channel: u64,
    /// In which server; none in a direct message.
    pub guild: Option<u64>,
    /// By whom.
    pub author: u64,
    /// How the author is called there. Never logged.
    pub name: String,
    /// Whether a program wrote it.
    pub by_bot: bool,
    /// Whether it is something that people write, not a note by Discord.
    pub is_ordinary: bool,
    /// Whether it mentions us (or answers a message of ours with a ping).
    pub mentions_us: bool,
    /// What was said, without the marks of mentions.
    pub text: String,
    /// What came with it.
    pub attachments: Vec<Attachment>,
    /// What it answers.
    pub quoted: Option<Quoted>,
    /// When, by Discord's clock.
    pub said_at: Timestamp,
}

/// A file that came with a message. Its address expires: it is fetched at once or never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// As the member named it. Never logged.
    pub name: String,
    /// `image/png` and so on, as Discord says.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// Where it can be fetched.
    pub url: String,
}

/// A message that another one answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its id.
    pub id: u64,
    /// By whom.
    pub author: u64,
    /// What it says; empty when Discord did not tell.
    pub text: String,
}

/// A message that we post.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbound {
    /// At most 2,000 characters, never empty.
    pub text: String,
    /// The message it answers.
    pub reply_to: Option<u64>,
    /// At most 25 characters; the same post with the same nonce stands once.
    pub nonce: String,
    /// Whether it arrives without a sound.
    pub is_silent: bool,
    /// Buttons, as Discord writes them.
    pub components: Option<serde_json::Value>,
}

/// The nonce of one part of a reply: the same in every life of this program.
#[must_use]
pub fn nonce(inbound: u64, part: usize) -> String {
    format!("{inbound}.{part}")
}

/// What the gateway tells.
#[derive(Debug)]
pub enum Event {
    /// A new session: whatever happened before it is to be looked up.
    Ready {
        /// Our own id.
        me: u64,
        /// The application's id.
        application: u64,
        /// The servers we are in.
        guilds: Vec<u64>,
    },
    /// An old session goes on; nothing was missed.
    Resumed,
    /// Somebody wrote.
    Message(Box<wire::Message>),
    /// Messages were deleted.
    Deleted(Vec<u64>),
    /// A server with its channels and threads; also after joining one.
    Guild(Box<wire::Guild>),
    /// We left a server.
    GuildGone(u64),
    /// A channel or thread was made or changed.
    Channel(Box<wire::Channel>),
    /// A channel or thread is gone.
    ChannelGone(u64),
    /// Somebody used a command or a button.
    Interaction(Box<Interaction>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time() {
        assert_eq!(
            made_at(175_928_847_299_117_063).to_string(),
            "2016-04-30T11:18:25.796Z"
        );
        let at: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        assert_eq!(made_at(id_at(at)), at);
        assert_eq!(id_at("2000-01-01T00:00:00Z".parse().unwrap()), 0);
    }

    #[test]
    fn nonces_fit_and_are_the_same_in_every_life() {
        assert!(nonce(u64::MAX, 999).len() <= 25);
        assert_eq!(nonce(7, 1), nonce(7, 1));
        assert_ne!(nonce(7, 0), nonce(7, 1));
        assert_ne!(nonce(7, 0), nonce(8, 0));
    }
}
