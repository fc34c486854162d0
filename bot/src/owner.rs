//! Telling the owner: a warning in the log and a direct message, at most one a day for each cause.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use daemon_kit::text::{Language, Text};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::discord::{Outbound, Rest};
use crate::store::Store;

/// More causes than this do not wait; the log has them all the same.
const WAITING: usize = 64;
/// A message to the owner is not worth more patience.
const TELL_WITHIN: Duration = Duration::from_mins(3);
/// What could not be delivered is tried again so often: a NAS that starts may have no way out for a while.
const AGAIN_AFTER: Duration = Duration::from_mins(5);
/// A cause is told again after this long.
const DAY: Duration = Duration::from_hours(24);

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
    /// What was taken up in this life, and when: on a full disk the store cannot remember it.
    taken: HashMap<String, Instant>,
    /// What nobody could be reached with yet.
    undelivered: VecDeque<Tiding>,
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
            taken: HashMap::new(),
            undelivered: VecDeque::new(),
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
        let mut again = interval(AGAIN_AFTER);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                tiding = self.waiting.recv() => match tiding {
                    Some(tiding) => self.take(tiding).await,
                    None => break,
                },
                _ = again.tick() => self.try_again().await,
            }
        }
    }

    async fn take(&mut self, tiding: Tiding) {
        self.taken.retain(|_, at| at.elapsed() < DAY);
        let now = daemon_kit::time::now();
        if self.taken.contains_key(&tiding.cause) {
            return;
        }
        match self.store.was_told(tiding.cause.clone(), now).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %error, "what was told before is not known"),
        }
        self.taken.insert(tiding.cause.clone(), Instant::now());
        let text = tiding.text.in_language(self.language);
        tracing::warn!(event = "owner.told", cause = %tiding.cause, "{text}");
        if !self.carry(&tiding).await {
            tracing::warn!(event = "owner.unreached", cause = %tiding.cause, "the owner could not be reached by direct message; it is tried again");
            if self.undelivered.len() < WAITING {
                self.undelivered.push_back(tiding);
            }
        }
    }

    /// In their order; whoever cannot be reached with one is not tried with the next.
    async fn try_again(&mut self) {
        while let Some(tiding) = self.undelivered.pop_front() {
            if !self.carry(&tiding).await {
                self.undelivered.push_front(tiding);
                break;
            }
        }
    }

    /// True when an owner has it; only then it counts as told.
    async fn carry(&mut self, tiding: &Tiding) -> bool {
        let text = tiding.text.in_language(self.language).to_owned();
        if timeout(TELL_WITHIN, self.deliver(&text, &tiding.cause)).await != Ok(true) {
            return false;
        }
        let told = self
            .store
            .note_told(tiding.cause.clone(), daemon_kit::time::now());
        if let Err(error) = told.await {
            tracing::debug!(error = %error, "that the owner was told could not be written down");
        }
        true
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
