//! A command or a button that somebody used, and what can be answered to it.

use serde_json::{Value, json};

use super::wire::{Channel, Id, Member, Message, User};

/// Seen by the one who asked alone.
pub const EPHEMERAL: u64 = 1 << 6;

/// A command or button, as far as we read it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Interaction {
    /// Its id.
    pub id: Id,
    /// Ours.
    pub application_id: Id,
    /// 2 command, 3 button or menu, 4 completion, 5 form.
    #[serde(rename = "type")]
    pub kind: u64,
    /// Names of commands, options, buttons.
    #[serde(default)]
    pub data: Value,
    /// Lets us answer for fifteen minutes. Never logged.
    pub token: String,
    /// In which server.
    #[serde(default)]
    pub guild_id: Option<Id>,
    /// Where.
    #[serde(default)]
    pub channel_id: Option<Id>,
    /// The place itself.
    #[serde(default)]
    pub channel: Option<Channel>,
    /// Who, in a server.
    #[serde(default)]
    pub member: Option<Member>,
    /// Who, in a direct message.
    #[serde(default)]
    pub user: Option<User>,
    /// The message a button is under.
    #[serde(default)]
    pub message: Option<Message>,
    /// Bytes that one file may have where it was used.
    #[serde(default)]
    pub attachment_size_limit: Option<u64>,
    /// The language of the one who asked.
    #[serde(default)]
    pub locale: Option<String>,
}

impl Interaction {
    /// Who used it.
    #[must_use]
    pub fn user(&self) -> u64 {
        let inside = self.member.as_ref().and_then(|member| member.user.as_ref());
        inside.or(self.user.as_ref()).map_or(0, |user| user.id.0)
    }

    /// What they may do there, as Discord's bit set.
    #[must_use]
    pub fn permissions(&self) -> u64 {
        let bits = self
            .member
            .as_ref()
            .and_then(|member| member.permissions.as_deref());
        bits.and_then(|bits| bits.parse().ok()).unwrap_or(0)
    }

    /// Where it was used.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.channel_id
            .or(self.channel.as_ref().map(|channel| channel.id))
            .unwrap_or_default()
            .0
    }
}

/// An answer that only the one who asked sees.
#[must_use]
pub fn quiet_answer(text: &str) -> Value {
    json!({"type": 4, "data": {"content": text, "flags": EPHEMERAL, "allowed_mentions": {"parse": []}}})
}

/// "I am at it": within three seconds, when the answer takes longer.
#[must_use]
pub fn quiet_delay() -> Value {
    json!({"type": 5, "data": {"flags": EPHEMERAL}})
}
