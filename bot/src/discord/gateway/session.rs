//! One connection from HELLO to its end: IDENTIFY or RESUME, heartbeats, events in their order.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::judge::{self, Next};
use super::link::{Link, LinkState};
use super::socket::{Heard, Socket};
use crate::discord::Event;
use crate::discord::wire::{Channel, Guild, Id};

/// HELLO comes at once or not at all.
const HELLO_WITHIN: Duration = Duration::from_secs(15);
/// READY or RESUMED after asking.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What keeps a session alive across connections.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Discord's name for it. Never logged.
    pub(super) id: String,
    /// Where it is to be resumed.
    pub(super) url: String,
    /// The last event that reached the intake.
    pub(super) seq: u64,
}

/// How a connection is begun.
pub(super) enum Opening<'a> {
    /// With these intents.
    Identify(u64),
    /// Where it stopped.
    Resume(&'a Session),
}

/// How it ended.
pub(super) struct End {
    pub(super) next: Next,
    pub(super) session: Option<Session>,
    /// Whether it came to READY or RESUMED.
    pub(super) was_up: bool,
    /// Whether an IDENTIFY was spent on it.
    pub(super) identified: bool,
    /// Why, for the log.
    pub(super) why: &'static str,
    pub(super) code: Option<u16>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    op: u8,
    #[serde(default)]
    s: Option<u64>,
    #[serde(default)]
    t: Option<&'a str>,
}

/// The rest of a frame, read once it is known what it is.
#[derive(Deserialize)]
struct Body<T> {
    d: T,
}

fn body<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str::<Body<T>>(text).map(|body| body.d)
}

/// The state of one connection.
pub(super) struct Connection<'a> {
    socket: Socket,
    events: &'a mpsc::Sender<Event>,
    link: &'a Link,
    session: Option<Session>,
    asked_content: bool,
    is_up: bool,
    acked: bool,
}

type Step = Result<(), (Next, &'static str, Option<u16>)>;

impl<'a> Connection<'a> {
    pub(super) fn new(socket: Socket, events: &'a mpsc::Sender<Event>, link: &'a Link) -> Self {
        Self {
            socket,
            events,
            link,
            session: None,
            asked_content: false,
            is_up: false,
            acked: true,
        }
    }

    /// Waits for HELLO; the heartbeat interval, or nothing.
    pub(super) async fn greeted(&mut self) -> Option<Duration> {
        let Ok(Heard::Text(text)) = timeout(HELLO_WITHIN, self.socket.hear()).await else {
            return None;
        };
        let frame: Frame<'_> = serde_json::from_str(&text).ok()?;
        let hello: Value = body(&text).ok()?;
        let interval = hello["heartbeat_interval"]
            .as_u64()
            .filter(|_| frame.op == 10)?;
        Some(Duration::from_millis(interval.clamp(100, 600_000)))
    }

    /// Opens and serves until the end.
    pub(super) async fn serve(
        mut self,
        opening: Opening<'_>,
        token: &str,
        interval: Duration,
    ) -> End {
        let (frame, resumed) = match opening {
            Opening::Identify(intents) => {
                self.asked_content = intents & super::CONTENT != 0;
                (identify(token, intents), None)
            }
            Opening::Resume(session) => (resume(token, session), Some(session.clone())),
        };
        let identified = resumed.is_none();
        self.session = resumed;
        let outcome = if self.socket.say(&frame).await {
            self.listen(interval).await
        } else {
            Err((Next::Resume, "could not send", None))
        };
        let (next, why, code) = outcome.err().unwrap_or((Next::Resume, "ended", None));
        // 1000 ends the session at Discord's side; anything else keeps it for a resume.
        let goodbye = if self.link.stop().is_asked() {
            1000
        } else {
            4000
        };
        self.socket.hang_up(goodbye).await;
        End {
            next,
            session: self.session,
            was_up: self.is_up,
            identified,
            why,
            code,
        }
    }

    async fn listen(&mut self, interval: Duration) -> Step {
        let begun = Instant::now();
        // The first beat at a random moment, so that a thousand clients do not beat together.
        let mut beat_at = begun + interval.mul_f64(fastrand::f64());
        let mut stop = self.link.stop();
        loop {
            let ready_by = if self.is_up {
                begun + Duration::from_hours(24 * 365)
            } else {
                begun + READY_WITHIN
            };
            tokio::select! {
                heard = self.socket.hear() => match heard {
                    Heard::Text(text) => self.take(&text).await?,
                    Heard::Closed(code) => {
                        return Err((judge::after_close(code, self.asked_content), "closed", code));
                    }
                },
                () = sleep_until(beat_at) => {
                    if !self.acked {
                        return Err((Next::Resume, "no answer to the heartbeat", None));
                    }
                    self.beat().await?;
                    beat_at = Instant::now() + interval;
                }
                () = sleep_until(ready_by) => return Err((Next::Resume, "no READY in time", None)),
                () = stop.wait() => return Err((Next::Resume, "stopping", None)),
            }
        }
    }

    async fn beat(&mut self) -> Step {
        self.acked = false;
        let seq = self.session.as_ref().map(|session| session.seq);
        if self.socket.say(&json!({"op": 1, "d": seq})).await {
            Ok(())
        } else {
            Err((Next::Resume, "could not send", None))
        }
    }

    async fn take(&mut self, text: &str) -> Step {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            // Not to be read, so not to be trusted to have been the last of its kind: ask for it again.
            return Err((Next::Resume, "unreadable frame", None));
        };
        match frame.op {
            0 => self.dispatch(&frame, text),
            1 => self.beat().await,
            7 => Err((Next::Resume, "asked to reconnect", None)),
            9 => {
                let resumable = body(text).unwrap_or(false);
                if !resumable {
                    self.session = None;
                }
                let next = if resumable {
                    Next::Resume
                } else {
                    Next::Identify
                };
                Err((next, "session invalid", None))
            }
            11 => {
                self.acked = true;
                if self.is_up {
                    self.link.set(LinkState::Up {
                        heard: Instant::now(),
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self, frame: &Frame<'_>, text: &str) -> Step {
        let Some(name) = frame.t else { return Ok(()) };
        let event = match name {
            "READY" => self.ready(text),
            "RESUMED" => {
                self.up();
                Some(Event::Resumed)
            }
            _ => read(name, text),
        };
        if let Some(event) = event {
            // The intake is behind (or gone, and then the bot ends). Without a place in the queue the event was not taken, and its number is not
            // counted: resuming from the last one that was brings it back.
            self.events
                .try_send(event)
                .map_err(|_| (Next::Resume, "intake is behind", None))?;
        }
        if let (Some(session), Some(seq)) = (&mut self.session, frame.s) {
            session.seq = seq;
        }
        Ok(())
    }

    fn ready(&mut self, text: &str) -> Option<Event> {
        #[derive(Deserialize)]
        struct Ready {
            user: Only,
            #[serde(default)]
            guilds: Vec<Only>,
            session_id: String,
            resume_gateway_url: Option<String>,
            application: Option<Only>,
        }
        let ready: Ready = body(text).ok()?;
        self.session = Some(Session {
            id: ready.session_id,
            url: ready.resume_gateway_url.unwrap_or_default(),
            seq: 0,
        });
        self.up();
        Some(Event::Ready {
            me: ready.user.id.0,
            application: ready
                .application
                .map_or(ready.user.id.0, |application| application.id.0),
            guilds: ready.guilds.into_iter().map(|guild| guild.id.0).collect(),
        })
    }

    fn up(&mut self) {
        self.is_up = true;
        self.link.set(LinkState::Up {
            heard: Instant::now(),
        });
    }
}

/// Something of which only the id matters.
#[derive(Deserialize)]
struct Only {
    id: Id,
}

/// An event in our own words; `None` for those that do not concern us and those that cannot be read.
fn read(name: &str, text: &str) -> Option<Event> {
    #[derive(Deserialize)]
    struct Bulk {
        ids: Vec<Id>,
    }
    #[derive(Deserialize)]
    struct Gone {
        id: Id,
        #[serde(default)]
        unavailable: Option<bool>,
    }
    let event = match name {
        "MESSAGE_CREATE" => body(text).map(|message| Some(Event::Message(Box::new(message)))),
        "MESSAGE_DELETE" => body(text).map(|gone: Only| Some(Event::Deleted(vec![gone.id.0]))),
        "MESSAGE_DELETE_BULK" => body(text).map(|gone: Bulk| {
            Some(Event::Deleted(
                gone.ids.into_iter().map(|id| id.0).collect(),
            ))
        }),
        "GUILD_CREATE" => body::<Guild>(text).map(|guild| Some(Event::Guild(Box::new(guild)))),
        "GUILD_DELETE" => body(text).map(|gone: Gone| {
            let left = !gone.unavailable.unwrap_or(false);
            left.then_some(Event::GuildGone(gone.id.0))
        }),
        "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE" => {
            body::<Channel>(text).map(|channel| Some(Event::Channel(Box::new(channel))))
        }
        "CHANNEL_DELETE" | "THREAD_DELETE" => {
            body(text).map(|gone: Only| Some(Event::ChannelGone(gone.id.0)))
        }
        "INTERACTION_CREATE" => {
            body(text).map(|interaction| Some(Event::Interaction(Box::new(interaction))))
        }
        _ => Ok(None),
    };
    event.unwrap_or_else(|error| {
        // The kind of mistake and where, without what was written.
        let (line, column) = (error.line(), error.column());
        tracing::warn!(
            event = "gateway.unreadable",
            name,
            line,
            column,
            "an event of Discord's could not be read"
        );
        None
    })
}

fn identify(token: &str, intents: u64) -> Value {
    json!({"op": 2, "d": {
        "token": token,
        "intents": intents,
        "compress": false,
        "large_threshold": 50,
        "properties": {"os": "linux", "browser": "kotonoha", "device": "kotonoha"},
    }})
}

fn resume(token: &str, session: &Session) -> Value {
    json!({"op": 6, "d": {"token": token, "session_id": session.id, "seq": session.seq}})
}

#[cfg(test)]
mod tests;
