//! Telling the owner: a warning in the log and a direct message, at most one a day for each cause.

use std::sync::Arc;
use std::time::Duration;

use daemon_kit::text::{Language, Text};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::discord::{Outbound, Rest};
use crate::store::Store;

/// More causes than this do not wait; the log has them all the same.
const WAITING: usize = 64;
/// A message to the owner is not worth more patience.
const TELL_WITHIN: Duration = Duration::from_mins(3);

/// Something the owner should know.
struct Tiding {
    cause: String,
    text: Text,
}

/// The way to the owner: cloned freely, never waits.
#[derive(Clone, Debug)]
pub struct Owner {
    tidings: mpsc::Sender<Tiding>,
}

/// Who carries tidings.
pub struct Messenger {
    waiting: mpsc::Receiver<Tiding>,
    rest: Arc<Rest>,
    store: Store,
    language: Language,
    ids: Vec<u64>,
}

impl std::fmt::Debug for Messenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Messenger")
    }
}

impl Owner {
    /// `ids` from the configuration; when empty, Discord is asked who owns the application.
    #[must_use]
    pub fn new(
        rest: Arc<Rest>,
        store: Store,
        language: Language,
        ids: Vec<u64>,
    ) -> (Self, Messenger) {
        let (tidings, waiting) = mpsc::channel(WAITING);
        let messenger = Messenger {
            waiting,
            rest,
            store,
            language,
            ids,
        };
        (Self { tidings }, messenger)
    }

    /// Tells, unless this cause was told within a day.
    pub fn tell(&self, cause: impl Into<String>, text: Text) {
        let tiding = Tiding {
            cause: cause.into(),
            text,
        };
        if self.tidings.try_send(tiding).is_err() {
            tracing::warn!(
                event = "owner.not_told",
                "too much to tell the owner at once"
            );
        }
    }
}

impl Messenger {
    /// Carries tidings until nobody can send any.
    pub async fn run(mut self) {
        while let Some(tiding) = self.waiting.recv().await {
            let now = daemon_kit::time::now();
            match self.store.may_tell(tiding.cause.clone(), now).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => tracing::debug!(error = %error, "what was told before is not known"),
            }
            let text = tiding.text.in_language(self.language).to_owned();
            tracing::warn!(event = "owner.told", cause = %tiding.cause, "{text}");
            if timeout(TELL_WITHIN, self.deliver(&text, &tiding.cause)).await != Ok(true) {
                tracing::warn!(event = "owner.unreached", cause = %tiding.cause, "the owner could not be reached by direct message");
            }
        }
    }

    /// Delivers to every owner; true when one has it.
    pub async fn deliver(&mut self, text: &str, nonce: &str) -> bool {
        if self.ids.is_empty() {
            match self.rest.application().await {
                Ok(app) => self.ids = app.owners,
                Err(error) => {
                    tracing::info!(event = "owner.unknown", error = %error, "Discord does not tell who owns the bot");
                }
            }
        }
        let mut reached = false;
        for id in self.ids.clone() {
            reached |= direct(&self.rest, id, text, nonce).await;
        }
        reached
    }
}

/// One direct message; true when it stands.
pub async fn direct(rest: &Rest, user: u64, text: &str, nonce: &str) -> bool {
    let Ok(channel) = rest.open_direct(user).await else {
        return false;
    };
    for (place, part) in crate::reply::parts(text).into_iter().enumerate() {
        let outbound = Outbound {
            text: part,
            nonce: short_nonce(nonce, place),
            ..Outbound::default()
        };
        if rest.send(channel, &outbound).await.is_err() {
            return false;
        }
    }
    true
}

/// Discord takes 25 characters: what is longer is told apart by its sum.
fn short_nonce(cause: &str, place: usize) -> String {
    let day = daemon_kit::time::now().as_second() / 86_400;
    let sum = cause.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:x}.{day}.{place}", sum >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_of_tidings_fit_and_differ() {
        assert!(short_nonce("a cause with a very long name indeed", 99).len() <= 25);
        assert_ne!(short_nonce("one", 0), short_nonce("two", 0));
        assert_ne!(short_nonce("one", 0), short_nonce("one", 1));
    }
}
