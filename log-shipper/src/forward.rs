//! This room sends every line to a sink at least once, oldest first, however long the sink is away.

pub mod alert;
pub mod http;
pub mod loki;
mod recent;
pub mod syslog;
pub mod trouble;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon_kit::Shutdown;
use daemon_kit::backoff::Backoff;
use jiff::tz::TimeZone;

use crate::checkpoint::Checkpoint;
use crate::follow::{self, Bounds, Place};
use crate::forward::recent::Recent;
use crate::forward::trouble::Cause;
use crate::redact::Redactor;
use crate::segment::{Glimpse, Listing};

/// A place that takes lines.
pub trait Sink: Send {
    /// Its name, in checkpoints and lines.
    fn name(&self) -> &'static str;
    /// Sends lines of one service; what it returns is acknowledged.
    fn send(&mut self, service: &str, lines: &[String], now_millis: i64) -> Result<Sent, Failure>;
    /// How long after a batch its loss may still come to light: a sink without acknowledgements sends it again then.
    fn pause(&self) -> Duration;
    /// Looks whether what was sent a moment ago turned out to be lost, while there is nothing new to send.
    fn look(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a sink took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Lines it has.
    pub accepted: u64,
    /// Lines it will never take.
    pub refused: u64,
}

/// Why it took nothing, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In technical words.
    pub why: String,
    /// What stands in the way.
    pub cause: Cause,
    /// What the sink asked for.
    pub wait: Option<Duration>,
}

/// Memory of a batch is bounded by this, whatever the backlog.
const BATCH: Bounds = Bounds {
    lines: 500,
    bytes: 512 << 10,
};
/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    max: Duration::from_secs(300),
    jitter: 0.2,
};
/// A sink away for this long is told as an error, once.
const STALLED_AFTER: Duration = Duration::from_secs(3_600);
/// Refusals are told so often at most: the line that tells of them is forwarded too, and perhaps refused.
const REFUSALS_EVERY: Duration = Duration::from_secs(3_600);
/// How long a connection may keep a loss to itself: the kernel gives up on a silent peer well before.
const UNSURE: Duration = Duration::from_secs(60);

/// One sink and where it stands.
pub struct Forwarder {
    dir: PathBuf,
    sink: Box<dyn Sink>,
    redactor: Arc<Redactor>,
    checkpoint: Checkpoint,
    recent: Recent,
    glimpse: Option<Glimpse>,
    down: Option<Down>,
    refusals: Refusals,
}

/// Lines refused for good that nobody was told of yet.
#[derive(Default)]
struct Refusals {
    lines: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn tell_if_due(&mut self, sink: &'static str) {
        let due = self.told.is_none_or(|at| at.elapsed() >= REFUSALS_EVERY);
        if self.lines == 0 || !due {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        self.told = Some(Instant::now());
        tracing::warn!(
            event = "forward.refused",
            sink,
            lines,
            "lines were refused for good and are left out"
        );
    }
}

struct Down {
    since: Instant,
    attempts: u32,
    told: bool,
}

impl Forwarder {
    /// Goes on where the checkpoint says.
    pub fn new(
        dir: &Path,
        sink: Box<dyn Sink>,
        redactor: Arc<Redactor>,
    ) -> anyhow::Result<Forwarder> {
        let checkpoint = Checkpoint::load(dir, sink.name()).context("reading the checkpoint")?;
        Ok(Forwarder {
            dir: dir.to_owned(),
            sink,
            redactor,
            checkpoint,
            recent: Recent::default(),
            glimpse: None,
            down: None,
            refusals: Refusals::default(),
        })
    }

    /// Sends until shutdown.
    pub fn run(&mut self, shutdown: &Shutdown) {
        while !shutdown.is_soft() {
            self.refusals.tell_if_due(self.sink.name());
            let wait = match self.look().and_then(|()| self.round(shutdown)) {
                Ok(()) => LOOK_EVERY,
                Err(failure) => self.failed(&failure),
            };
            if shutdown.wait(wait) {
                break;
            }
        }
    }

    /// Sends everything there is.
    pub fn round(&mut self, shutdown: &Shutdown) -> Result<(), Failure> {
        let glimpse = Glimpse::of(&self.dir, self.checkpoint.places.keys().map(String::as_str));
        if self.glimpse.as_ref() == Some(&glimpse) {
            return Ok(());
        }
        self.glimpse = None;
        let mut busy = true;
        while busy && !shutdown.is_soft() {
            busy = false;
            let listing = Listing::names(&self.dir).map_err(|error| local(&error))?;
            for service in listing.services() {
                busy |= self.send_batch(&listing, &service)?;
            }
        }
        // Our own checkpoint changes the directory: the glimpse is old then, and costs one more look.
        self.glimpse = Some(glimpse);
        Ok(())
    }

    /// One batch of one service. True = there may be more.
    fn send_batch(&mut self, listing: &Listing, service: &str) -> Result<bool, Failure> {
        let place = self
            .checkpoint
            .places
            .get(service)
            .cloned()
            .unwrap_or_default();
        let batch = follow::next_batch(&self.dir, listing, service, &place, BATCH)
            .map_err(|error| local(&error))?;
        if batch.lines.is_empty() {
            if batch.next != place {
                self.tell_missed(service, batch.missed);
                self.advance(service, batch.next, Sent::default())?;
            }
            return Ok(false);
        }
        let texts: Vec<String> = batch
            .lines
            .iter()
            .map(|line| {
                self.redactor
                    .line(&String::from_utf8_lossy(line))
                    .into_owned()
            })
            .collect();
        let now = daemon_kit::time::now().as_millisecond();
        match self.sink.send(service, &texts, now) {
            Ok(sent) => {
                self.recovered();
                self.refusals.lines += sent.refused;
                self.refusals.tell_if_due(self.sink.name());
                self.recent
                    .sent(service, place, Instant::now(), self.sink.pause());
                self.tell_missed(service, batch.missed);
                self.advance(service, batch.next, sent)?;
                Ok(true)
            }
            Err(failure) => {
                self.step_back()?;
                Err(failure)
            }
        }
    }

    fn advance(&mut self, service: &str, place: Place, sent: Sent) -> Result<(), Failure> {
        self.checkpoint.places.insert(service.to_owned(), place);
        self.checkpoint.sent += sent.accepted;
        self.checkpoint.refused += sent.refused;
        self.save()
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.checkpoint
            .save(&self.dir, self.sink.name())
            .map_err(|error| local(&error))
    }

    /// Told when the place moves on, and not at every attempt before.
    fn tell_missed(&self, service: &str, segments: u64) {
        if segments > 0 {
            tracing::error!(event = "forward.missed", sink = self.sink.name(), from = %service, segments, "segments were pruned before this sink had them");
        }
    }

    /// A loss comes to light within a minute or never: until then the sink is asked, also when there is nothing to send.
    fn look(&mut self) -> Result<(), Failure> {
        if !self.recent.is_open(Instant::now(), self.sink.pause()) {
            return Ok(());
        }
        let looked = self.sink.look();
        if looked.is_err() {
            self.step_back()?;
        }
        looked
    }

    /// What was sent just before a connection broke may have died in its buffers: it is sent again, which `seq` tells.
    fn step_back(&mut self) -> Result<(), Failure> {
        let back = self.recent.step_back(Instant::now(), self.sink.pause());
        // A glimpse says that everything was sent: that is no longer so.
        self.glimpse = None;
        if back.is_empty() {
            return Ok(());
        }
        self.checkpoint.places.extend(back);
        self.save()
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        let name = self.sink.name();
        let down = self.down.get_or_insert_with(|| {
            tracing::warn!(event = "forward.down", sink = name, error = %failure.why, "a sink does not take lines; they wait");
            Down { since: Instant::now(), attempts: 0, told: false }
        });
        down.attempts = down.attempts.saturating_add(1);
        if !down.told && down.since.elapsed() > STALLED_AFTER {
            down.told = true;
            tracing::error!(event = "forward.stalled", sink = name, error = %failure.why, "a sink has taken no lines for an hour");
        }
        BACKOFF.delay(down.attempts, failure.wait, 0.5)
    }

    fn recovered(&mut self) {
        if let Some(down) = self.down.take() {
            let seconds = down.since.elapsed().as_secs();
            tracing::info!(
                event = "forward.up",
                sink = self.sink.name(),
                seconds,
                attempts = down.attempts,
                "a sink takes lines again"
            );
        }
    }

    /// Lines acknowledged and refused so far.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.checkpoint.sent, self.checkpoint.refused)
    }
}

fn local(error: &std::io::Error) -> Failure {
    Failure {
        why: format!("reading the logs: {error}"),
        cause: Cause::Other,
        wait: None,
    }
}

/// A log centre that speaks syslog.
pub struct Syslog {
    target: syslog::Target,
    zone: TimeZone,
    tls: Option<Arc<rustls::ClientConfig>>,
    wire: Option<wire::Wire>,
}

impl Syslog {
    /// Does not connect yet.
    pub fn new(
        target: syslog::Target,
        zone: TimeZone,
        extra_ca: Option<&Path>,
    ) -> anyhow::Result<Syslog> {
        let tls = match target.transport {
            syslog::Transport::Tls => Some(wire::trust(extra_ca)?),
            syslog::Transport::Udp | syslog::Transport::Tcp => None,
        };
        Ok(Syslog {
            target,
            zone,
            tls,
            wire: None,
        })
    }
}

impl Sink for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn send(&mut self, service: &str, lines: &[String], now_millis: i64) -> Result<Sent, Failure> {
        let now =
            jiff::Timestamp::from_millisecond(now_millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let messages: Vec<Vec<u8>> = lines
            .iter()
            .map(|line| self.target.message(line, service, &self.zone, now))
            .collect();
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                wire::Wire::open(&self.target, self.tls.as_ref()).map_err(|error| broken(&error))?
            }
        };
        wire.send(&messages)
            .map_err(|error| broken(&error.into()))?;
        self.wire = Some(wire);
        Ok(Sent {
            accepted: lines.len() as u64,
            refused: 0,
        })
    }

    fn pause(&self) -> Duration {
        match self.target.transport {
            syslog::Transport::Udp => Duration::ZERO,
            syslog::Transport::Tcp | syslog::Transport::Tls => UNSURE,
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        let Some(mut wire) = self.wire.take() else {
            return Ok(());
        };
        // Whoever hangs up in order has read everything: the next batch opens another way.
        if wire.is_open().map_err(|error| broken(&error.into()))? {
            self.wire = Some(wire);
        }
        Ok(())
    }
}

fn broken(error: &anyhow::Error) -> Failure {
    Failure {
        why: format!("{error:#}"),
        cause: Cause::of(error),
        wait: None,
    }
}

#[cfg(test)]
mod tests;
