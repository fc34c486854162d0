//! This room lets a long job show that it lives, show how far it is, and stop when it is told to.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use daemon_kit::heartbeat::Heartbeat;
use daemon_kit::shutdown::Shutdown;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A job beats this often at most.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// How often work on another thread is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The job was told to stop; it leaves nothing behind but what it published before. One that gives way to another says
/// nothing of it: it goes on afterwards.
#[derive(Debug, thiserror::Error)]
#[error("stopped before it was done, because the program ends")]
pub struct Stopped;

/// Whether another job waits that goes first.
type OthersWait = Box<dyn Fn() -> bool + Send>;

/// What a job reports to between its blocks.
pub struct Watch {
    heartbeat: Option<Heartbeat>,
    unhealthy: Option<String>,
    shutdown: Shutdown,
    others_wait: Option<OthersWait>,
    gives_way: Cell<bool>,
    last_beat: Cell<Option<Instant>>,
    bar: ProgressBar,
}

impl Watch {
    /// For a command: a progress bar when standard error is a terminal.
    #[must_use]
    pub fn command() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self::new(None, None, Shutdown::new(), bar)
    }

    /// For the resident: beats while it works, and stops when the grace ends. `unhealthy` is what the beat says
    /// meanwhile.
    #[must_use]
    pub fn resident(heartbeat: Heartbeat, unhealthy: Option<String>, shutdown: Shutdown) -> Self {
        Self::new(Some(heartbeat), unhealthy, shutdown, ProgressBar::hidden())
    }

    fn new(
        heartbeat: Option<Heartbeat>,
        unhealthy: Option<String>,
        shutdown: Shutdown,
        bar: ProgressBar,
    ) -> Self {
        if let Ok(style) =
            ProgressStyle::with_template("{msg:20} [{bar:30}] {bytes}/{total_bytes} {eta}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            heartbeat,
            unhealthy,
            shutdown,
            others_wait: None,
            gives_way: Cell::new(false),
            last_beat: Cell::new(None),
            bar,
        }
    }

    /// For a job that can go on later: it stops within seconds when `others_wait` says that another one does.
    #[must_use]
    pub fn giving_way(self, others_wait: impl Fn() -> bool + Send + 'static) -> Self {
        Self {
            others_wait: Some(Box::new(others_wait)),
            ..self
        }
    }

    /// Names the stage that begins now, and how many bytes it has before it.
    pub fn stage(&self, name: &'static str, total_bytes: u64) {
        self.bar.reset();
        self.bar.set_length(total_bytes);
        self.bar.set_message(name);
    }

    /// Says that so many more bytes are done.
    ///
    /// # Errors
    /// When the job is to stop.
    pub fn advance(&self, bytes: u64) -> Result<(), Stopped> {
        self.bar.inc(bytes);
        let is_time = self
            .last_beat
            .get()
            .is_none_or(|last| last.elapsed() >= BEAT_EVERY);
        if is_time {
            self.last_beat.set(Some(Instant::now()));
            match (&self.heartbeat, &self.unhealthy) {
                (Some(heartbeat), Some(reason)) => heartbeat.unhealthy(reason),
                (Some(heartbeat), None) => heartbeat.beat(),
                (None, _) => {}
            }
            if self.others_wait.as_ref().is_some_and(|wait| wait()) {
                self.gives_way.set(true);
            }
        }
        if self.shutdown.is_soft() || self.gives_way.get() {
            Err(Stopped)
        } else {
            Ok(())
        }
    }

    /// Whether the job was told to stop: what fails now is no fault.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_soft()
    }

    /// Whether the job has stopped because another one goes first.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.gives_way.get()
    }

    /// Does long work that cannot report by itself, on a thread of its own; meanwhile the job is seen to live.
    ///
    /// # Errors
    /// When the work panicked.
    pub fn beside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(work);
            while !worker.is_finished() {
                // A stop is noticed by the next block; this work is waited for either way.
                self.advance(0).ok();
                thread::park_timeout(LOOK_EVERY);
            }
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the job panicked"))
        })
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
