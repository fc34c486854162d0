//! Calls for what only one person sees: later answers to an interaction, a thread for two.

use serde_json::{Value, json};
use serenity::http::LightMethod::{Patch, Post, Put};
use serenity::http::Route;
use serenity::model::id::{ApplicationId, ChannelId, UserId};

use super::{Ask, Error, File, Rest};
use crate::discord::Interaction;
use crate::discord::interaction::EPHEMERAL;

/// A thread that only those who are added can see.
const PRIVATE_THREAD: u8 = 12;

fn words(text: &str, components: Option<&Value>, file: Option<&File>) -> Value {
    let mut body = json!({"content": text, "allowed_mentions": {"parse": []}});
    if let Some(components) = components {
        body["components"] = components.clone();
    }
    if let Some(file) = file {
        body["attachments"] = json!([{"id": 0, "filename": file.name}]);
    }
    body
}

impl Rest {
    /// Writes the answer that was announced with a delay, with a file if there is one.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn answer_with(
        &self,
        to: &Interaction,
        text: &str,
        (components, file): (Option<&Value>, Option<&File>),
    ) -> Result<(), Error> {
        let route = Route::WebhookOriginalInteractionResponse {
            application_id: ApplicationId::new(to.application_id.0.max(1)),
            token: &to.token,
        };
        let body = words(text, components, file);
        self.ask(Ask::new(Patch, route).body(&body).file(file))
            .await
            .map(drop)
    }

    /// The same without a file.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn answer_late(
        &self,
        to: &Interaction,
        text: &str,
        components: Option<&Value>,
    ) -> Result<(), Error> {
        self.answer_with(to, text, (components, None)).await
    }

    /// One more message after that answer, seen by the same person alone.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn follow_up(
        &self,
        to: &Interaction,
        text: &str,
        (components, file): (Option<&Value>, Option<&File>),
    ) -> Result<(), Error> {
        let route = Route::WebhookFollowupMessages {
            application_id: ApplicationId::new(to.application_id.0.max(1)),
            token: &to.token,
        };
        let mut body = words(text, components, file);
        body["flags"] = EPHEMERAL.into();
        // There is no nonce here: asked twice, it would stand twice.
        self.ask(Ask::new(Post, route).body(&body).file(file).once())
            .await
            .map(drop)
    }

    /// Opens a thread that only `user` and we can see, and adds them.
    ///
    /// # Errors
    /// As Discord says; a thread that they cannot be added to is of no use, and is left empty.
    pub async fn open_private_thread(
        &self,
        at: u64,
        user: u64,
        name: &str,
        archive_minutes: u64,
    ) -> Result<u64, Error> {
        let body = json!({
            "name": name, "auto_archive_duration": archive_minutes, "type": PRIVATE_THREAD, "invitable": false,
        });
        let channel_id = ChannelId::new(at.max(1));
        let bytes = self
            .ask(
                Ask::new(Post, Route::ChannelThreads { channel_id })
                    .body(&body)
                    .once(),
            )
            .await?;
        let told: Value = serde_json::from_slice(&bytes).map_err(|_| Error::Unreadable)?;
        let thread: u64 = told["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .ok_or(Error::Unreadable)?;
        let member = Route::ChannelThreadMember {
            channel_id: ChannelId::new(thread.max(1)),
            user_id: UserId::new(user.max(1)),
        };
        self.ask(Ask::new(Put, member)).await?;
        Ok(thread)
    }
}
