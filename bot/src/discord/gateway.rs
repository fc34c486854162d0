//! The gateway: keeps one session with Discord alive, and knows when to stop asking.
//!
//! The socket is ours, not serenity's: its client counts no IDENTIFYs, swallows close codes, hands events out in any
//! order, cannot be stopped while it connects, and knows no roots but its own. Its models and REST side stay.

mod judge;
mod link;
mod reach;
mod session;
mod socket;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serenity::model::gateway::GatewayIntents;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Event;
use super::rest::{self, Door, Rest};
use crate::store::{Cause, Store};
pub use judge::Refusal;
use judge::{Next, identify_wait};
pub use link::{Link, LinkState, Stop, ailment};
use session::{Connection, End, Opening, Session};
pub use socket::Trust;

/// The one privileged intent that we ask for.
const CONTENT: u64 = GatewayIntents::MESSAGE_CONTENT.bits();

/// Failures in a row before the owner is told why: the first may be a router that is a little late.
const EXPLAINED_AFTER: u32 = 2;

const BACKOFF: daemon_kit::backoff::Backoff = daemon_kit::backoff::Backoff {
    base: Duration::from_millis(500),
    max: Duration::from_secs(30),
    jitter: 0.5,
};

/// What the gateway is made of.
pub struct Gateway<'a> {
    /// For the address and the limits.
    pub rest: &'a Rest,
    /// For the ledger of IDENTIFYs.
    pub store: &'a Store,
    /// Ours.
    pub token: &'a SecretString,
    /// TLS.
    pub trust: Trust,
    /// State and stop.
    pub link: Link,
    /// Where events go.
    pub events: mpsc::Sender<Event>,
    /// Told once when Discord keeps message content from us.
    pub on_no_content: Box<dyn Fn() + Send + Sync + 'a>,
}

impl std::fmt::Debug for Gateway<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

fn usual_intents() -> GatewayIntents {
    GatewayIntents::GUILDS
        | GatewayIntents::GUILD_MESSAGES
        | GatewayIntents::DIRECT_MESSAGES
        | GatewayIntents::MESSAGE_CONTENT
}

impl Gateway<'_> {
    /// Keeps the connection until asked to stop, or until asking again would be wrong.
    ///
    /// # Errors
    /// Why it would be.
    pub async fn run(&self) -> Result<(), Refusal> {
        let mut stop = self.link.stop();
        tokio::select! {
            biased;
            ended = self.keep() => ended,
            // Waiting for a connection or a pause can be left at any moment; a live session says goodbye itself.
            () = self.stopped(&mut stop) => Ok(()),
        }
    }

    async fn stopped(&self, stop: &mut Stop) {
        stop.wait().await;
        // The session sees the same wish and hangs up by itself, if it is live.
        sleep(Duration::from_secs(3)).await;
    }

    async fn keep(&self) -> Result<(), Refusal> {
        let mut intents = usual_intents().bits();
        let mut session: Option<Session> = None;
        let mut cause = Cause::Start;
        let mut failures: u32 = 0;
        let mut told = None;
        loop {
            let end = self.connect(session.take(), intents, cause).await?;
            if self.link.stop().is_asked() {
                return Ok(());
            }
            self.link.set(LinkState::Down {
                since: Instant::now(),
            });
            failures = if end.was_up { 0 } else { failures + 1 };
            if end.was_up {
                told = None;
            }
            if end.identified {
                cause = Cause::Fault;
            }
            if end.was_up {
                tracing::warn!(
                    event = "gateway.lost",
                    why = end.why,
                    code = end.code,
                    "the connection to Discord ended"
                );
            } else if failures < 3 || failures.is_power_of_two() {
                tracing::info!(
                    event = "gateway.not_connected",
                    why = end.why,
                    code = end.code,
                    failures,
                    "no connection to Discord yet"
                );
                if end.next == Next::Resume && failures >= EXPLAINED_AFTER {
                    self.explain(&mut told).await;
                }
            }
            match end.next {
                Next::Resume => session = end.session,
                Next::Identify => {}
                Next::WithoutContent => {
                    intents &= !CONTENT;
                    (self.on_no_content)();
                }
                Next::Park(refusal) => return Err(refusal),
            }
            let pause = match end.next {
                // What Discord asks for after an invalid session.
                Next::Identify => Duration::from_secs_f64(1.0 + 4.0 * fastrand::f64()),
                _ if failures > 0 => BACKOFF.delay(failures - 1, None, fastrand::f64()),
                _ => Duration::from_millis(100),
            };
            sleep(pause).await;
        }
    }

    /// Says once for each cause why there is no connection, and what the owner can do.
    async fn explain(&self, told: &mut Option<&'static str>) {
        let Some(finding) = reach::diagnose(self.rest.address()).await else {
            return;
        };
        if told.replace(finding.id) != Some(finding.id) {
            tracing::error!(
                event = "gateway.unreachable",
                id = finding.id,
                "{}",
                finding.line()
            );
        }
    }

    /// One connection, from finding the door to its end.
    async fn connect(
        &self,
        session: Option<Session>,
        intents: u64,
        cause: Cause,
    ) -> Result<End, Refusal> {
        let unconnected = |session, why| End {
            next: Next::Resume,
            session,
            was_up: false,
            identified: false,
            why,
            code: None,
        };
        let door = match self.rest.door().await {
            Ok(door) => door,
            Err(rest::Error::Unauthorized) => return Err(Refusal::Token),
            Err(error) => {
                tracing::debug!(error = %error, "the gateway's address is not known yet");
                return Ok(unconnected(
                    session,
                    "Discord does not tell where its gateway is",
                ));
            }
        };
        if session.is_none() {
            self.wait_to_identify(&door, cause).await;
        }
        let url = session
            .as_ref()
            .map_or(door.url.as_str(), |session| self.resume_url(session, &door));
        let Some(socket) = socket::Socket::connect(&addressed(url), &self.trust).await else {
            return Ok(unconnected(session, "no connection"));
        };
        let mut connection = Connection::new(socket, &self.events, &self.link);
        let Some(interval) = connection.greeted().await else {
            return Ok(unconnected(session, "no HELLO"));
        };
        let opening = if let Some(session) = &session {
            Opening::Resume(session)
        } else {
            if let Err(error) = self
                .store
                .record_identify(cause, daemon_kit::time::now())
                .await
            {
                // Uncounted, it could be one too many.
                tracing::error!(event = "gateway.uncounted", error = %error, "an IDENTIFY could not be written down, so it is not sent");
                return Ok(unconnected(None, "IDENTIFY not recorded"));
            }
            Opening::Identify(intents)
        };
        Ok(connection
            .serve(opening, self.token.expose_secret(), interval)
            .await)
    }

    async fn wait_to_identify(&self, door: &Door, cause: Cause) {
        let now = daemon_kit::time::now();
        let recent = self.store.identifies(now).await.unwrap_or_default();
        let wait = identify_wait(now, &recent, cause, door.remaining, door.reset_after);
        if wait > Duration::from_secs(10) {
            tracing::warn!(
                event = "gateway.identify_budget",
                wait_secs = wait.as_secs(),
                today = recent.len(),
                "waiting before the next IDENTIFY, so that Discord does not reset the token"
            );
        }
        sleep(wait).await;
    }

    /// A stand-in's READY may name the real gateway: away from Discord, the door that was opened is the only one.
    fn resume_url<'b>(&self, session: &'b Session, door: &'b Door) -> &'b str {
        let host = |url: &str| {
            reqwest::Url::parse(url)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
        };
        let is_same = host(&session.url) == host(&door.url);
        if session.url.is_empty() || (self.rest.is_elsewhere() && !is_same) {
            &door.url
        } else {
            &session.url
        }
    }
}

fn addressed(url: &str) -> String {
    format!("{}?v=10&encoding=json", url.trim_end_matches('?'))
}
