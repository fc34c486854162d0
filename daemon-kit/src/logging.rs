//! This room turns tracing events into log lines: JSON into segments, a readable line to standard output.
//!
//! Events of our own programs carry a stable name in the field `event`. Events of libraries are kept from WARN on,
//! without their fields and with addresses cut out, since they may hold what must never be in a log.
//!
//! A level above INFO quiets standard output alone: the status page and the alerts live on lines like `start`, `alive`
//! and `backup.done`, so segments always hold what our own programs say from INFO on.

mod line;
mod sink;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use line::Record;
pub use line::readable_line;
use sink::Sink;

/// Where and how a service logs.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The name in file names and lines.
    pub service: &'static str,
    /// The directory of all services' logs.
    pub dir: PathBuf,
    /// Lines below this level are not shown; segments hold INFO and above in any case.
    pub level: Level,
    /// Size at which a segment is closed, in bytes.
    pub max_size_bytes: u64,
    /// Age at which a segment is closed.
    pub rotate_after: Duration,
    /// The zone of times in lines.
    pub zone: TimeZone,
}

/// Controls the log of this process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    sink: Arc<Mutex<Sink>>,
    level: Arc<AtomicU8>,
}

impl LogHandle {
    /// Begins to write segments as `settings` say; earlier lines of this process, which went to standard output alone,
    /// come first. `false` when another process is this service's writer: lines then go to standard output alone.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn open(&self, settings: &LogSettings) -> io::Result<bool> {
        let opened = self.sink().open(settings);
        self.level.store(rank(settings.level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        opened
    }

    /// Shows times in `zone` from now on, also while there is no log to open yet.
    pub fn set_zone(&self, zone: TimeZone) {
        self.sink().set_zone(zone);
    }

    /// Closes the active segment early when a line is in it, so that others may compress it.
    ///
    /// # Errors
    /// When a sync or the rename fails; nothing is lost then.
    pub fn rotate(&self) -> io::Result<()> {
        self.sink().rotate()
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        // A panic while a line is written leaves whole lines, so the log goes on.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes `service`'s log the log of this process, on standard output until [`LogHandle::open`].
#[must_use]
pub fn install(service: &'static str) -> LogHandle {
    let (layer, handle) = layer(service, Box::new(io::stdout()));
    let subscriber = tracing_subscriber::registry().with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        line::install_panic_hook();
    }
    handle
}

/// Makes standard error the log of a command other than `run`: readable lines from `level` on, and no segment.
pub fn install_for_command(settings: &LogSettings, level: Level) {
    let (layer, handle) = layer(settings.service, Box::new(io::stderr()));
    handle.sink().keep_none();
    handle.level.store(rank(level), Ordering::Relaxed);
    handle.set_zone(settings.zone.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    // Only a second call could fail, and the first one stands.
    tracing::subscriber::set_global_default(subscriber).ok();
}

/// The layer behind [`install`], with readable lines going to `out`.
fn layer(service: &'static str, out: Box<dyn io::Write + Send>) -> (Lines, LogHandle) {
    let sink = Arc::new(Mutex::new(Sink::new(service, out)));
    let level = Arc::new(AtomicU8::new(rank(Level::INFO)));
    let handle = LogHandle { sink, level };
    let layer = Lines {
        handle: handle.clone(),
        own_crate: service.replace('-', "_"),
    };
    (layer, handle)
}

struct Lines {
    handle: LogHandle,
    own_crate: String,
}

impl Lines {
    fn is_own(&self, target: &str) -> bool {
        let root = target.split("::").next().unwrap_or_default();
        root == self.own_crate || root == "daemon_kit"
    }

    /// Whether an event becomes a line anywhere: in the segment, or there and on standard output.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if self.is_own(metadata.target()) {
            rank(Level::INFO).max(self.handle.level.load(Ordering::Relaxed))
        } else {
            rank(Level::WARN)
        };
        metadata.is_event() && rank(*metadata.level()) <= limit
    }

    fn shows(&self, level: Level) -> bool {
        rank(level) <= self.handle.level.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let debug = self.handle.level.load(Ordering::Relaxed) >= rank(Level::DEBUG);
        Some(if debug {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = if self.is_own(event.metadata().target()) {
            Record::of(event)
        } else {
            Record::of_library(event)
        };
        let shown = self.shows(record.level);
        self.handle.sink().write(&record, shown);
    }
}

/// More verbose levels have higher ranks.
fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}
