//! The calls we make, each with what it must always carry: no create and no edit without `allowed_mentions`.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serenity::http::LightMethod::{Delete, Get, Patch, Post, Put};
use serenity::http::Route;
use serenity::model::id::{ApplicationId, ChannelId, InteractionId, MessageId};

use super::{Ask, Error, Rest};
use crate::discord::wire::{Channel, Id, Message};
use crate::discord::{Interaction, Outbound};

/// How we get to the gateway, and how often we may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Where it is.
    pub url: String,
    /// How many IDENTIFYs are left today.
    pub remaining: u64,
    /// When there are more.
    pub reset_after: Duration,
}

/// Our application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: u64,
    /// Its owner, or its team.
    pub owners: Vec<u64>,
}

/// Messages that Discord gives at once.
const PAGE: usize = 100;

/// A message that rings nowhere.
const SUPPRESS_NOTIFICATIONS: u64 = 1 << 12;

fn nobody() -> Value {
    json!({"parse": []})
}

fn channel(id: u64) -> ChannelId {
    ChannelId::new(id.max(1))
}

fn message(id: u64) -> MessageId {
    MessageId::new(id.max(1))
}

fn id_of(value: &Value) -> Option<u64> {
    value
        .as_str()
        .and_then(|id| id.parse().ok())
        .or(value.as_u64())
}

/// What can be read of the messages that came after `after`, oldest first, and the id after which more may stand.
pub(super) fn page(told: Vec<Value>, after: u64) -> (Vec<Message>, Option<u64>) {
    // By what came, not by what could be read of it: one that cannot be read is no end.
    let is_full = told.len() >= PAGE;
    let newest = told.iter().filter_map(|one| id_of(&one["id"])).max();
    let goes_on = newest.filter(|newest| is_full && *newest > after);
    // One message that cannot be read must not hide the others.
    let mut messages: Vec<Message> = told
        .into_iter()
        .filter_map(|one| serde_json::from_value(one).ok())
        .collect();
    messages.sort_by_key(|message| message.id);
    (messages, goes_on)
}

impl Rest {
    async fn ask_for<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Error> {
        let bytes = self.ask(ask).await?;
        serde_json::from_slice(&bytes).map_err(|_| Error::Unreadable)
    }

    /// Where the gateway is. Asked once: the caller has its own patience.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn door(&self) -> Result<Door, Error> {
        let told: Value = self
            .ask_for(Ask::new(Get, Route::GatewayBot).once())
            .await?;
        let limit = &told["session_start_limit"];
        Ok(Door {
            url: told["url"].as_str().ok_or(Error::Unreadable)?.to_owned(),
            remaining: limit["remaining"].as_u64().unwrap_or(1),
            reset_after: Duration::from_millis(limit["reset_after"].as_u64().unwrap_or(0)),
        })
    }

    /// Who we are to Discord, and who owns us.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn application(&self) -> Result<App, Error> {
        let told: Value = self
            .ask_for(Ask::new(Get, Route::Oauth2ApplicationCurrent))
            .await?;
        let team = told["team"]["members"].as_array();
        let mut owners: Vec<u64> = team
            .into_iter()
            .flatten()
            .filter_map(|member| id_of(&member["user"]["id"]))
            .collect();
        if owners.is_empty() {
            owners.extend(id_of(&told["owner"]["id"]));
        }
        Ok(App {
            id: id_of(&told["id"]).ok_or(Error::Unreadable)?,
            owners,
        })
    }

    /// Posts a message; its id, or `None` when it stands but the answer could not be read.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn send(&self, to: u64, outbound: &Outbound) -> Result<Option<u64>, Error> {
        let mut body = json!({
            "content": outbound.text,
            "nonce": outbound.nonce,
            "enforce_nonce": true,
            "allowed_mentions": nobody(),
        });
        if let Some(id) = outbound.reply_to {
            body["message_reference"] =
                json!({"message_id": id.to_string(), "fail_if_not_exists": false});
        }
        if outbound.is_silent {
            body["flags"] = SUPPRESS_NOTIFICATIONS.into();
        }
        if let Some(components) = &outbound.components {
            body["components"] = components.clone();
        }
        let route = Route::ChannelMessages {
            channel_id: channel(to),
        };
        match self.ask(Ask::new(Post, route).body(&body)).await {
            Ok(bytes) => {
                let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                Ok(id_of(&told["id"]))
            }
            Err(Error::Unreadable) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes a message of ours.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn edit(
        &self,
        at: u64,
        id: u64,
        text: &str,
        components: Option<&Value>,
    ) -> Result<(), Error> {
        let mut body = json!({"content": text, "allowed_mentions": nobody()});
        if let Some(components) = components {
            body["components"] = components.clone();
        }
        let route = Route::ChannelMessage {
            channel_id: channel(at),
            message_id: message(id),
        };
        self.ask(Ask::new(Patch, route).body(&body)).await.map(drop)
    }

    /// Deletes a message of ours; one that is gone already is fine.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn delete(&self, at: u64, id: u64) -> Result<(), Error> {
        let route = Route::ChannelMessage {
            channel_id: channel(at),
            message_id: message(id),
        };
        match self.ask(Ask::new(Delete, route)).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Shows that we are at it, for ten seconds.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn typing(&self, at: u64) -> Result<(), Error> {
        let route = Route::ChannelTyping {
            channel_id: channel(at),
        };
        self.ask(Ask::new(Post, route).once()).await.map(drop)
    }

    /// Opens a thread on a message; its id is the message's. One that stands already is fine.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn open_thread(
        &self,
        at: u64,
        on: u64,
        name: &str,
        archive_minutes: u64,
    ) -> Result<u64, Error> {
        let body = json!({"name": name, "auto_archive_duration": archive_minutes});
        let route = Route::ChannelMessageThreads {
            channel_id: channel(at),
            message_id: message(on),
        };
        match self.ask(Ask::new(Post, route).body(&body)).await {
            Ok(bytes) => {
                let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                Ok(id_of(&told["id"]).unwrap_or(on))
            }
            Err(Error::ThreadExists | Error::Unreadable) => Ok(on),
            Err(error) => Err(error),
        }
    }

    /// One channel or thread.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn channel(&self, id: u64) -> Result<Channel, Error> {
        self.ask_for(Ask::new(
            Get,
            Route::Channel {
                channel_id: channel(id),
            },
        ))
        .await
    }

    /// One message.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn message(&self, at: u64, id: u64) -> Result<Message, Error> {
        let route = Route::ChannelMessage {
            channel_id: channel(at),
            message_id: message(id),
        };
        self.ask_for(Ask::new(Get, route)).await
    }

    /// Up to 100 messages after `after`, oldest first.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn messages_after(&self, at: u64, after: u64) -> Result<Vec<Message>, Error> {
        Ok(self.page_after(at, after).await?.0)
    }

    /// The same, and the id after which more may stand; `None` when this was the end.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn page_after(
        &self,
        at: u64,
        after: u64,
    ) -> Result<(Vec<Message>, Option<u64>), Error> {
        let route = Route::ChannelMessages {
            channel_id: channel(at),
        };
        let params = vec![("after", after.to_string()), ("limit", PAGE.to_string())];
        let told: Vec<Value> = self.ask_for(Ask::new(Get, route).params(params)).await?;
        Ok(page(told, after))
    }

    /// The direct message channel with somebody.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn open_direct(&self, user: u64) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct Direct {
            id: Id,
        }
        let body = json!({"recipient_id": user.to_string()});
        let told: Direct = self
            .ask_for(Ask::new(Post, Route::UserMeDmChannels).body(&body))
            .await?;
        Ok(told.id.0)
    }

    /// The commands that Discord offers now.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn commands(&self, application: u64) -> Result<Vec<Value>, Error> {
        let route = Route::Commands {
            application_id: ApplicationId::new(application.max(1)),
        };
        self.ask_for(Ask::new(Get, route)).await
    }

    /// Makes Discord offer exactly these commands.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn register_commands(&self, application: u64, commands: &Value) -> Result<(), Error> {
        let route = Route::Commands {
            application_id: ApplicationId::new(application.max(1)),
        };
        self.ask(Ask::new(Put, route).body(commands))
            .await
            .map(drop)
    }

    /// Answers an interaction for the first time: within three seconds, so never twice, and past every limit, since
    /// Discord binds no answer to an interaction by the limit of all routes.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn answer(&self, to: &Interaction, body: &Value) -> Result<(), Error> {
        let route = Route::InteractionResponse {
            interaction_id: InteractionId::new(to.id.0.max(1)),
            token: &to.token,
        };
        self.ask(Ask::new(Post, route).body(body).once().unlimited())
            .await
            .map(drop)
    }
}
