//! Discord as plain state: who is there, where, what was said. No sockets, no clock.

use std::time::Instant;

use serde_json::{Value, json};

/// A snowflake.
pub type Id = u64;

/// Milliseconds between the Unix epoch and Discord's.
pub const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;

/// The permissions the stand-in knows, as Discord numbers them.
pub mod permission {
    /// See the channel.
    pub const VIEW: u64 = 1 << 10;
    /// Write in the channel.
    pub const SEND: u64 = 1 << 11;
    /// Read what was written before.
    pub const HISTORY: u64 = 1 << 16;
    /// Open a thread on a message.
    pub const THREADS: u64 = 1 << 35;
    /// Write in threads.
    pub const SEND_IN_THREADS: u64 = 1 << 38;
    /// React with an emoji.
    pub const REACT: u64 = 1 << 6;
    /// Everything that the invite link of the project asks for.
    pub const ALL: u64 =
        VIEW | SEND | HISTORY | THREADS | SEND_IN_THREADS | REACT | (1 << 14) | (1 << 15);
}

/// What a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text channel.
    Text,
    /// A forum: only posts, which are threads.
    Forum,
    /// A thread or a forum post.
    Thread,
    /// A direct message.
    Direct,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Direct => 1,
            Self::Thread => 11,
            Self::Forum => 15,
        }
    }
}

/// A place to talk.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its id.
    pub id: Id,
    /// What it is.
    pub kind: Kind,
    /// The guild, none for a direct message.
    pub guild: Option<Id>,
    /// The channel that a thread hangs on.
    pub parent: Option<Id>,
    /// Its name.
    pub name: String,
    /// Who opened the thread.
    pub owner: Option<Id>,
    /// The other person in a direct message.
    pub recipient: Option<Id>,
    /// Permissions taken from the bot here.
    pub denied: u64,
    /// Whether the thread rests.
    pub archived: bool,
    /// Whether only moderators may wake the thread.
    pub locked: bool,
    /// Minutes until the thread rests.
    pub auto_archive: u64,
    /// Whether the person refuses direct messages.
    pub closed: bool,
}

/// A person, or a bot.
#[derive(Clone, Debug)]
pub struct Member {
    /// The user id.
    pub id: Id,
    /// The name.
    pub name: String,
    /// Whether it is a bot.
    pub bot: bool,
}

/// Something that was said.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: Id,
    /// Where.
    pub channel: Id,
    /// Who.
    pub author: Id,
    /// The words, as they stand now.
    pub content: String,
    /// The words before each edit.
    pub former: Vec<String>,
    /// The sender's mark.
    pub nonce: Option<String>,
    /// The message it replies to.
    pub reply_to: Option<Id>,
    /// Who is named in it.
    pub mentions: Vec<Id>,
    /// Files, as Discord shows them.
    pub attachments: Vec<Value>,
    /// Buttons, as they were sent.
    pub components: Value,
    /// Embeds, as they were sent.
    pub embeds: Value,
    /// Flags (4096 = no notification).
    pub flags: u64,
    /// Discord's type of message.
    pub kind: u8,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How many pings its create and edits made.
    pub pings: usize,
    /// Whether it was taken back.
    pub deleted: bool,
    /// Whether the test has said that it expected this.
    pub expected: bool,
    /// Sent by Discord for a form that only one person sees.
    pub interaction: Option<Id>,
}

impl Message {
    /// The words without the small remarks below them.
    #[must_use]
    pub fn words(&self) -> String {
        let lines = self.content.lines();
        let kept: Vec<&str> = lines.filter(|line| !line.starts_with("-# ")).collect();
        kept.join("\n").trim_end().to_owned()
    }

    /// Buttons' custom ids, flat.
    #[must_use]
    pub fn buttons(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.components, &mut found);
        found
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => {
            if let Some(id) = map.get("custom_id").and_then(Value::as_str) {
                found.push(id.to_owned());
            }
            map.values().for_each(|item| collect(item, found));
        }
        _ => {}
    }
}

/// A command, a button or a menu that somebody used.
#[derive(Clone, Debug)]
pub struct Interaction {
    /// Its id.
    pub id: Id,
    /// The token that answers must carry.
    pub token: String,
    /// Where.
    pub channel: Id,
    /// When it was sent to the bot.
    pub sent: Instant,
    /// The type of the first answer (4 message, 5 later, 6/7 update, 9 form).
    pub answered: Option<u64>,
    /// The whole body of the first answer.
    pub callback: Value,
    /// The answers, in order: the first one as it stands now, then the follow-ups.
    pub answers: Vec<Answer>,
}

/// What the bot said in answer to an interaction.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message id.
    pub id: Id,
    /// The words.
    pub content: String,
    /// Whether only the asker sees it.
    pub ephemeral: bool,
    /// The whole body last sent.
    pub body: Value,
    /// Pings made.
    pub pings: usize,
}

/// A time as Discord writes it.
#[must_use]
pub fn timestamp(at_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(at_ms.cast_signed()).map_or_else(
        |_| String::new(),
        |at| format!("{at:.6}").replace('Z', "+00:00"),
    )
}

/// A time as the `Date` header has it.
pub fn http_date(at_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(at_ms.cast_signed())
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

/// A user object.
#[must_use]
pub fn user(member: &Member) -> Value {
    json!({
        "id": member.id.to_string(), "username": member.name, "discriminator": "0", "global_name": member.name,
        "avatar": null, "bot": member.bot, "public_flags": 0, "flags": 0,
    })
}

/// A guild member object without its user.
#[must_use]
pub fn partial_member() -> Value {
    json!({
        "roles": [], "nick": null, "avatar": null, "joined_at": "2024-01-01T00:00:00.000000+00:00", "premium_since": null,
        "deaf": false, "mute": false, "flags": 0, "pending": false, "communication_disabled_until": null,
    })
}

/// A guild member object.
#[must_use]
pub fn member(person: &Member, permissions: Option<u64>) -> Value {
    let mut value = partial_member();
    value["user"] = user(person);
    if let Some(bits) = permissions {
        value["permissions"] = json!(bits.to_string());
    }
    value
}

/// A channel object.
#[must_use]
pub fn channel(
    place: &Channel,
    bot: Id,
    last: Option<Id>,
    messages: usize,
    recipient: Option<&Member>,
) -> Value {
    if place.kind == Kind::Direct {
        let people: Vec<Value> = recipient.map(user).into_iter().collect();
        return json!({"id": place.id.to_string(), "type": 1, "last_message_id": last.map(|id| id.to_string()), "recipients": people, "flags": 0});
    }
    let mut value = json!({
        "id": place.id.to_string(), "type": place.kind.number(), "guild_id": place.guild.map(|id| id.to_string()), "name": place.name,
        "parent_id": place.parent.map(|id| id.to_string()), "last_message_id": last.map(|id| id.to_string()), "flags": 0,
        "rate_limit_per_user": 0, "nsfw": false, "topic": null, "position": 0, "permission_overwrites": [],
    });
    if place.denied != 0 {
        value["permission_overwrites"] = json!([{"id": bot.to_string(), "type": 1, "allow": "0", "deny": place.denied.to_string()}]);
    }
    if place.kind == Kind::Forum {
        value["available_tags"] = json!([]);
        value["default_forum_layout"] = json!(0);
    }
    if place.kind == Kind::Thread {
        value["owner_id"] = json!(place.owner.map(|id| id.to_string()));
        value["message_count"] = json!(messages.min(255));
        value["total_message_sent"] = json!(messages);
        value["member_count"] = json!(2);
        value["thread_metadata"] = json!({
            "archived": place.archived, "auto_archive_duration": place.auto_archive, "locked": place.locked,
            "archive_timestamp": timestamp(place.id / (1 << 22) + DISCORD_EPOCH_MS),
            "create_timestamp": timestamp(place.id / (1 << 22) + DISCORD_EPOCH_MS),
        });
    }
    value
}

/// Whether a text calls someone: what Discord would notify, given `allowed_mentions` (absent = everything).
#[must_use]
pub fn pings(content: &str, allowed: Option<&Value>, replies: bool) -> usize {
    let allowed = allowed.filter(|value| value.is_object());
    let may = |kind: &str| {
        allowed.is_none_or(|value| {
            value["parse"]
                .as_array()
                .is_some_and(|list| list.iter().any(|item| item == kind))
        })
    };
    let named = |list: &str, id: &str| {
        allowed.is_some_and(|value| {
            value[list]
                .as_array()
                .is_some_and(|ids| ids.iter().any(|item| item.as_str() == Some(id)))
        })
    };
    let mut count = 0;
    if may("everyone") {
        count += content.matches("@everyone").count() + content.matches("@here").count();
    }
    for (at, _) in content.match_indices("<@") {
        let rest = &content[at + 2..];
        let Some(end) = rest.find('>') else { continue };
        let inner = &rest[..end];
        let (list, id) = match inner.strip_prefix('&') {
            Some(role) => ("roles", role),
            None => ("users", inner.trim_start_matches('!')),
        };
        if !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && (may(list) || named(list, id))
        {
            count += 1;
        }
    }
    let calls_the_asker = match allowed {
        None => true,
        Some(value) => value["replied_user"] == true,
    };
    count + usize::from(replies && calls_the_asker)
}

/// The user ids that a text names.
#[must_use]
pub fn mentioned(content: &str) -> Vec<Id> {
    content
        .match_indices("<@")
        .filter_map(|(at, _)| {
            let rest = content[at + 2..].trim_start_matches('!');
            rest.split_once('>').and_then(|(id, _)| id.parse().ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_without_allowed_mentions_pings() {
        assert_eq!(pings("@everyone <@12> <@&3> <@!4>", None, false), 4);
        assert_eq!(
            pings("@everyone <@12>", Some(&json!({"parse": []})), true),
            0
        );
        assert_eq!(
            pings(
                "<@12> <@13>",
                Some(&json!({"parse": [], "users": ["13"]})),
                false
            ),
            1
        );
        assert_eq!(pings("hello", None, true), 1);
        assert_eq!(
            pings(
                "hello",
                Some(&json!({"parse": [], "replied_user": true})),
                true
            ),
            1
        );
    }

    #[test]
    fn names_are_found() {
        assert_eq!(mentioned("<@1> x <@!22> <@&3> <@x>"), vec![1, 22]);
    }
}
