//! What Discord writes, as far as we read it: unknown and missing fields never make a message unreadable.

use serde::{Deserialize, Deserializer};

use super::{Attachment, Inbound, Quoted, made_at};

/// Discord writes ids as strings, some of its kin as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an id")
            }

            fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id))
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Id, E> {
                id.parse()
                    .map(Id)
                    .map_err(|_| E::custom("an id is a number"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A field that is `null` counts as one that is missing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A person or a program.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct User {
    /// Its id.
    pub id: Id,
    /// The account's name.
    #[serde(default, deserialize_with = "or_default")]
    pub username: String,
    /// The name to show.
    #[serde(default)]
    pub global_name: Option<String>,
    /// Whether it is a program.
    #[serde(default, deserialize_with = "or_default")]
    pub bot: bool,
}

/// A person in a server.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Member {
    /// The name in this server.
    #[serde(default)]
    pub nick: Option<String>,
    /// The person; missing inside messages.
    #[serde(default)]
    pub user: Option<User>,
    /// What the person may do there; only inside interactions.
    #[serde(default)]
    pub permissions: Option<String>,
}

/// A message.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: Id,
    /// Where.
    pub channel_id: Id,
    /// In which server.
    #[serde(default)]
    pub guild_id: Option<Id>,
    /// By whom.
    #[serde(default, deserialize_with = "or_default")]
    pub author: User,
    /// The author in this server.
    #[serde(default)]
    pub member: Option<Member>,
    /// What it says; empty when we may not read it.
    #[serde(default, deserialize_with = "or_default")]
    pub content: String,
    /// Whom it mentions.
    #[serde(default, deserialize_with = "or_default")]
    pub mentions: Vec<User>,
    /// What came with it.
    #[serde(default, deserialize_with = "or_default")]
    pub attachments: Vec<File>,
    /// 0 and 19 are written by people.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: u64,
    /// Set when a webhook wrote it.
    #[serde(default)]
    pub webhook_id: Option<Id>,
    /// Which message it answers.
    #[serde(default)]
    pub message_reference: Option<Reference>,
    /// That message, when Discord sends it along.
    #[serde(default)]
    pub referenced_message: Option<Box<Message>>,
    /// The thread that was started from it.
    #[serde(default)]
    pub thread: Option<Channel>,
}

/// Which message another one answers.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Reference {
    /// Its id.
    #[serde(default)]
    pub message_id: Option<Id>,
}

/// An attached file.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// As the member named it.
    #[serde(default, deserialize_with = "or_default")]
    pub filename: String,
    /// What Discord thinks it is.
    #[serde(default, deserialize_with = "or_default")]
    pub content_type: String,
    /// Bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub size: u64,
    /// Where it is.
    #[serde(default, deserialize_with = "or_default")]
    pub url: String,
}

/// A channel or thread.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: Id,
    /// 0 text, 1 direct, 5 news, 10–12 threads, 15 forum.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: u64,
    /// In which server.
    #[serde(default)]
    pub guild_id: Option<Id>,
    /// The channel a thread belongs to.
    #[serde(default)]
    pub parent_id: Option<Id>,
    /// Who opened a thread.
    #[serde(default)]
    pub owner_id: Option<Id>,
    /// The newest message, even one that is gone.
    #[serde(default)]
    pub last_message_id: Option<Id>,
}

/// A server.
#[derive(Clone, Debug, Deserialize)]
pub struct Guild {
    /// Its id.
    pub id: Id,
    /// Its channels.
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Channel>,
    /// Its active threads that we can see.
    #[serde(default, deserialize_with = "or_default")]
    pub threads: Vec<Channel>,
}

impl Message {
    /// The message in our own words.
    #[must_use]
    pub fn into_inbound(self, me: u64) -> Inbound {
        let mentions_us = self.mentions.iter().any(|user| user.id.0 == me);
        let text = without_mentions(&self.content, self.mentions.iter().map(|user| user.id.0));
        let nick = self.member.and_then(|member| member.nick);
        let quoted = self
            .message_reference
            .and_then(|reference| reference.message_id)
            .map(|id| {
                let known = self.referenced_message.as_deref();
                Quoted {
                    id: id.0,
                    author: known.map_or(0, |message| message.author.id.0),
                    text: known
                        .map(|message| message.content.clone())
                        .unwrap_or_default(),
                }
            });
        Inbound {
            id: self.id.0,
            channel: self.channel_id.0,
            guild: self.guild_id.map(|id| id.0),
            author: self.author.id.0,
            by_bot: self.author.bot || self.webhook_id.is_some(),
            name: nick
                .or(self.author.global_name)
                .unwrap_or(self.author.username),
            is_ordinary: matches!(self.kind, 0 | 19),
            mentions_us,
            text,
            attachments: self
                .attachments
                .into_iter()
                .map(File::into_attachment)
                .collect(),
            quoted,
            said_at: made_at(self.id.0),
        }
    }
}

impl File {
    fn into_attachment(self) -> Attachment {
        Attachment {
            name: self.filename,
            media_type: self.content_type,
            size: self.size,
            url: self.url,
        }
    }
}

/// Takes the marks of `mentioned` people out, and the space they leave.
fn without_mentions(content: &str, mentioned: impl Iterator<Item = u64>) -> String {
    let mut text = content.to_owned();
    for id in mentioned {
        for mark in [format!("<@{id}>"), format!("<@!{id}>")] {
            text = text.replace(&mark, "");
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: serde_json::Value) -> Inbound {
        serde_json::from_value::<Message>(json)
            .unwrap()
            .into_inbound(9)
    }

    #[test]
    fn a_mention_is_taken_out_and_the_rest_kept() {
        let inbound = message(serde_json::json!({
            "id": "7", "channel_id": 5, "content": "<@9> hello <@!9> <@8>!", "mentions": [{"id": "9"}, {"id": "8"}],
            "author": {"id": "3", "username": "a", "global_name": null}, "attachments": null, "unknown": {"x": 1},
            "member": {"nick": "b"}
        }));
        assert_eq!(inbound.text, "hello  !");
        assert!(inbound.mentions_us && inbound.is_ordinary && !inbound.by_bot);
        assert_eq!(
            (inbound.author, inbound.name.as_str(), inbound.guild),
            (3, "b", None)
        );
    }

    #[test]
    fn notes_by_discord_and_programs_are_told_apart() {
        let note = message(
            serde_json::json!({"id": "7", "channel_id": "5", "type": 21, "author": {"id": "3"}}),
        );
        assert!(!note.is_ordinary);
        let hook = message(
            serde_json::json!({"id": "7", "channel_id": "5", "webhook_id": "6", "author": {"id": "6"}}),
        );
        assert!(hook.by_bot);
        let program = message(
            serde_json::json!({"id": "7", "channel_id": "5", "author": {"id": "6", "bot": true}}),
        );
        assert!(program.by_bot);
    }

    #[test]
    fn what_is_answered_comes_along() {
        let inbound = message(serde_json::json!({
            "id": "7", "channel_id": "5", "type": 19, "author": {"id": "3"}, "message_reference": {"message_id": "6"},
            "referenced_message": {"id": "6", "channel_id": "5", "author": {"id": "4"}, "content": "before"}
        }));
        assert_eq!(
            inbound.quoted,
            Some(Quoted {
                id: 6,
                author: 4,
                text: "before".to_owned()
            })
        );
    }
}
