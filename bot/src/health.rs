//! Proof of life: beaten only while Discord answers, the store commits and the intake turns.

use std::time::Duration;

use daemon_kit::heartbeat::Heartbeat;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

use crate::discord::gateway::{Link, LinkState, ailment};
use crate::store::Store;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_mins(5);
/// A commit that takes longer than this is a disk in trouble.
const STORE_WITHIN: Duration = Duration::from_secs(20);
/// The intake looks after its house every five seconds.
const INTAKE_WITHIN: Duration = Duration::from_secs(60);

/// What is looked at.
#[derive(Debug)]
pub struct Health {
    /// Where it is told.
    pub heartbeat: Heartbeat,
    /// The gateway.
    pub link: Link,
    /// The store.
    pub store: Store,
    /// The intake.
    pub intake: watch::Receiver<Instant>,
    /// Set while no model accepts its key.
    pub refused: watch::Receiver<bool>,
    /// Pinged while all is well.
    pub ping: Option<(reqwest::Client, SecretString)>,
}

impl Health {
    /// Looks until dropped.
    pub async fn attend(self) {
        let mut looks = interval(LOOK_EVERY);
        let mut link = self.link.watch();
        let mut pinged: Option<Instant> = None;
        let mut was_ill: Option<&str> = None;
        let mut was_connected = false;
        loop {
            // The first connection is told at once: whoever waits for it need not wait for the next look.
            tokio::select! {
                _ = looks.tick() => {}
                _ = link.changed(), if !was_connected => {}
            }
            let ill = self.look().await;
            was_connected |= self.is_connected();
            match ill {
                Some(reason) => self.heartbeat.unhealthy(reason),
                // Green means that it works: a start that has not reached Discord yet does not.
                None if !was_connected => self.heartbeat.unhealthy("not connected to Discord yet"),
                None => self.heartbeat.beat(),
            }
            if ill != was_ill {
                if let Some(reason) = ill {
                    tracing::error!(event = "health.lost", reason, "not healthy");
                } else {
                    tracing::info!(event = "health.back", "healthy again");
                }
                was_ill = ill;
            }
            let is_due = pinged.is_none_or(|at| at.elapsed() >= PING_EVERY);
            if ill.is_none() && is_due && self.is_connected() {
                pinged = Some(Instant::now());
                self.ping().await;
            }
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.link.state(), LinkState::Up { .. })
    }

    async fn look(&self) -> Option<&'static str> {
        if !matches!(timeout(STORE_WITHIN, self.store.ping()).await, Ok(Ok(()))) {
            return Some("the database does not answer");
        }
        if self.intake.borrow().elapsed() > INTAKE_WITHIN {
            return Some("messages are not taken in");
        }
        if *self.refused.borrow() {
            return Some("no model accepts its API key");
        }
        ailment(self.link.state(), Instant::now())
    }

    async fn ping(&self) {
        let Some((client, url)) = &self.ping else {
            return;
        };
        let sent = client
            .get(url.expose_secret())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        if let Err(error) = sent {
            // The address is a secret, so only the kind of trouble is told.
            let status = error.status().map(|status| status.as_u16());
            tracing::warn!(
                event = "ping.failed",
                status,
                is_timeout = error.is_timeout(),
                "the dead man's switch could not be reached"
            );
        }
    }
}
