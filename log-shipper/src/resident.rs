//! This room is `run`: it wakes, sweeps and forwards until it is told to stop.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon_kit::boot::build_info;
use daemon_kit::{
    Env, Finding, House, Identity, KitSettings, Place, Resident, Shutdown, Text, time,
};
use secrecy::ExposeSecret;

use crate::config::{Config, SERVICE};
use crate::forward::alert::Courier;
use crate::forward::http::Http;
use crate::forward::loki::Loki;
use crate::forward::{Forwarder, Sink, Syslog};
use crate::ledger::Ledger;
use crate::redact::Redactor;
use crate::segment::{DirStamp, Listing};
use crate::sweep::{Grudges, Sweeper};
use crate::wake::{Reason, Waker};

/// Backups and the answers of the bot go first; not so far behind that a busy machine would never come to the logs.
const NICE: i32 = 3;
/// The page calls itself old after little more than two hours, however seldom the owner wants sweeps.
const KEEP_SECONDS: u64 = 3_600;
/// A directory in which no segment was closed is listed all the same, every so many intervals.
const LIST_EVERY: u32 = 10;
/// One whose own time has not changed since: by then segments have grown old at most.
const LIST_SAME_EVERY: Duration = Duration::from_hours(1);

/// The program.
pub struct LogShipper;

impl Resident for LogShipper {
    type Config = Config;

    fn identity() -> Identity {
        let zstd = zstd::zstd_safe::version_string();
        Identity {
            service: SERVICE,
            build: build_info(env!("CARGO_PKG_VERSION"), &format!("zstd {zstd}")),
        }
    }

    fn configure(env: &mut Env) -> Config {
        Config::read(env)
    }

    fn kit(config: &Config) -> KitSettings {
        KitSettings {
            log: config.log.clone(),
            language: config.language,
            places: vec![Place {
                name: "logs",
                path: config.dir.clone(),
                write: true,
                local: true,
                min_free_bytes: config.policy.free_bytes,
            }],
            allow_network_filesystem: config.allow_network_filesystem,
        }
    }

    fn check(config: &Config) -> Vec<Finding> {
        network(config).into_iter().collect()
    }

    fn run(config: Config, house: House) -> anyhow::Result<()> {
        // Best effort: a refusal costs nothing but politeness.
        rustix::process::setpriority_process(None, NICE).ok();
        let redactor = Arc::new(Redactor::new(config.secrets())?);
        let forwarders = spawn_all(&config, &redactor, &house.shutdown)?;
        let outcome = tend(&config, &house, &forwarders);
        house.shutdown.begin();
        for forwarder in forwarders {
            if forwarder.join().is_err() {
                anyhow::bail!("a forwarder panicked");
            }
        }
        outcome
    }
}

/// Sweeps and keeps the books at every reason to look, until shutdown.
fn tend(config: &Config, house: &House, forwarders: &[JoinHandle<()>]) -> anyhow::Result<()> {
    let mut waker = Waker::new(&config.dir, &house.shutdown);
    let mut tender = Tender::new(config);
    tender.sweep(&house.shutdown);
    let mut keeper = Keeper::new(config).context("opening the books")?;
    keeper.keep(&tender);
    loop {
        house.heartbeat.beat();
        if ended_early(forwarders, &house.shutdown) {
            anyhow::bail!("a forwarder ended by itself");
        }
        if house.shutdown.is_soft() {
            break;
        }
        let reason = if tender.unfinished {
            Reason::Moment
        } else {
            waker.wait()
        };
        match reason {
            Reason::Shutdown => break,
            Reason::Event | Reason::Directory => tender.sweep_if_new(&house.shutdown),
            Reason::Moment => {}
        }
        tender.sweep_if_due(&house.shutdown);
        keeper.keep_if_due(&tender);
    }
    keeper.keep(&tender);
    Ok(())
}

/// Whether a forwarder ended without being told to. It is looked at before the shutdown is: one that ends because of it
/// has seen it.
fn ended_early(forwarders: &[JoinHandle<()>], shutdown: &Shutdown) -> bool {
    let ended = forwarders.iter().any(JoinHandle::is_finished);
    ended && !shutdown.is_soft()
}

/// When to bring the books up to date: new lines are read at once, in memory; the disk is written at the interval.
struct Keeper {
    ledger: Ledger,
    begun: Instant,
    kept: Instant,
    every: Duration,
    failing: bool,
}

impl Keeper {
    fn new(config: &Config) -> std::io::Result<Keeper> {
        let ledger = Ledger::open(&config.dir, config.zone.clone(), config.language)?;
        let now = Instant::now();
        Ok(Keeper {
            ledger,
            begun: now,
            kept: now,
            every: Duration::from_secs(config.sweep_seconds.min(KEEP_SECONDS)),
            failing: false,
        })
    }

    fn keep_if_due(&mut self, tender: &Tender) {
        if self.kept.elapsed() >= self.every {
            self.keep(tender);
        } else {
            let read = self.read();
            self.tell(read);
        }
    }

    fn keep(&mut self, tender: &Tender) {
        self.kept = Instant::now();
        let kept = self.read().and_then(|()| {
            let now = time::now().as_millisecond();
            self.ledger.save(|active_bytes| {
                let log_bytes = tender.closed_bytes()? + active_bytes;
                Ok(tender.sweeper.surroundings(now, log_bytes))
            })
        });
        self.tell(kept);
    }

    fn read(&mut self) -> std::io::Result<()> {
        self.ledger
            .read(time::now().as_millisecond(), self.begun.elapsed())
    }

    fn tell(&mut self, done: std::io::Result<()>) {
        match done {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(event = "ledger.failed", %error, "status page and alerts could not be brought up to date");
                }
            }
        }
    }
}

/// When to sweep.
struct Tender {
    sweeper: Sweeper,
    grudges: Grudges,
    every: Duration,
    swept: Instant,
    skipped: u32,
    /// The directory after the last sweep, and when that was.
    listed: (Option<DirStamp>, Instant),
    closed_bytes: Option<u64>,
    changed: bool,
    unfinished: bool,
    failing: bool,
}

impl Tender {
    fn new(config: &Config) -> Tender {
        Tender {
            sweeper: config.sweeper(),
            grudges: Grudges::default(),
            every: Duration::from_secs(config.sweep_seconds),
            swept: Instant::now(),
            skipped: 0,
            listed: (None, Instant::now()),
            closed_bytes: None,
            changed: true,
            unfinished: false,
            failing: false,
        }
    }

    /// A change that is none of ours (a status page, a checkpoint) needs no sweep: what may go is decided when a
    /// segment was compressed, and at every tenth interval.
    fn sweep_if_new(&mut self, shutdown: &Shutdown) {
        if self.sweeper.has_raw() {
            self.sweep(shutdown);
        }
    }

    /// The interval; a directory in which nothing changed is not listed each time: with thousands of files that would
    /// be most of this program's work.
    fn sweep_if_due(&mut self, shutdown: &Shutdown) {
        if self.swept.elapsed() < self.every && !self.unfinished {
            return;
        }
        let is_wanted = self.changed || self.unfinished || self.sweeper.is_tight();
        if is_wanted || (self.skipped >= LIST_EVERY && !self.is_as_listed()) {
            self.sweep(shutdown);
        } else {
            self.skipped += 1;
            self.swept = Instant::now();
        }
    }

    /// Whether a listing would show what the last one did.
    fn is_as_listed(&self) -> bool {
        let (stamp, at) = self.listed;
        let is_same = |before: DirStamp| DirStamp::of(&self.sweeper.dir) == Some(before);
        at.elapsed() < LIST_SAME_EVERY && stamp.is_some_and(is_same)
    }

    /// Bytes of the closed segments as the last sweep left them: beside thousands, each one's size is not asked for anew
    /// for every page. What a command or a person removes in between is seen at the next sweep.
    fn closed_bytes(&self) -> std::io::Result<u64> {
        match self.closed_bytes {
            Some(bytes) => Ok(bytes),
            None => Ok(Listing::closed(&self.sweeper.dir)?.closed_bytes()),
        }
    }

    fn sweep(&mut self, shutdown: &Shutdown) {
        self.changed = false;
        self.unfinished = false;
        self.skipped = 0;
        // Where a sweep was broken off, or was another's, nobody knows.
        self.closed_bytes = None;
        match self
            .sweeper
            .sweep(time::now().as_millisecond(), shutdown, &mut self.grudges)
        {
            Ok(swept) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(event = "sweep.back", "sweeping works again");
                }
                if swept.is_news() {
                    tracing::info!(
                        event = "sweep.done",
                        compressed = swept.compressed,
                        raw_bytes = swept.raw_bytes,
                        bytes = swept.packed_bytes,
                        pruned = swept.pruned,
                        failed = swept.failed,
                        waiting = swept.waiting,
                        "swept"
                    );
                }
                self.unfinished = swept.unfinished;
                self.closed_bytes = swept.closed_bytes;
                // What failed is tried again at the next interval.
                self.changed |= swept.failed > 0;
            }
            Err(error) => {
                self.changed = true;
                if !std::mem::replace(&mut self.failing, true) {
                    let error = format!("{error:#}");
                    tracing::error!(
                        event = "sweep.failed",
                        error,
                        "a sweep failed; it is tried again at every interval"
                    );
                }
            }
        }
        self.swept = Instant::now();
        self.listed = (DirStamp::of(&self.sweeper.dir), self.swept);
    }
}

/// The sinks that are configured.
pub fn sinks(config: &Config) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let ca = config.extra_ca.as_deref();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(target) = &config.syslog {
        sinks.push(Box::new(Syslog::new(
            target.clone(),
            config.zone.clone(),
            ca,
        )?));
    }
    if let Some(url) = &config.loki {
        sinks.push(Box::new(Loki::new(Http::new(ca)?, url.expose_secret())?));
    }
    Ok(sinks)
}

/// The webhook, when there is one.
pub fn courier(config: &Config) -> anyhow::Result<Option<Courier>> {
    let Some(url) = &config.webhook else {
        return Ok(None);
    };
    let http = Http::new(config.extra_ca.as_deref())?;
    Courier::new(&config.dir, http, url.expose_secret(), config.language).map(Some)
}

fn spawn_all(
    config: &Config,
    redactor: &Arc<Redactor>,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut handles = Vec::new();
    for sink in sinks(config)? {
        let name = format!("forward-{}", sink.name());
        let mut forwarder = Forwarder::new(&config.dir, sink, Arc::clone(redactor))?;
        let shutdown = shutdown.clone();
        let thread = std::thread::Builder::new().name(name);
        handles.push(
            thread
                .spawn(move || forwarder.run(&shutdown))
                .context("starting a forwarder")?,
        );
    }
    if let Some(mut courier) = courier(config)? {
        let (shutdown, redactor) = (shutdown.clone(), Arc::clone(redactor));
        let thread = std::thread::Builder::new().name("forward-alert".to_owned());
        let carry = move || courier.run(&redactor, &shutdown);
        handles.push(thread.spawn(carry).context("starting the courier")?);
    }
    Ok(handles)
}

/// A sink needs a way out: with `LOG_NETWORK=none` there is only the loopback.
fn network(config: &Config) -> Option<Finding> {
    let wanted = config.syslog.is_some() || config.loki.is_some() || config.webhook.is_some();
    if !wanted || has_way_out() {
        return None;
    }
    Some(
        Finding::warning(
            "network.none",
            Text::new(
                "送信先が設定されていますが、このコンテナにはネットワークがありません",
                "a remote address is set, but this container has no network",
            ),
            "no interface besides lo",
            Text::new(
                ".env に LOG_NETWORK=bridge と書いてください",
                "put LOG_NETWORK=bridge into .env",
            ),
        )
        .by_setting(),
    )
}

/// Whether there is any interface besides the loopback.
#[must_use]
pub fn has_way_out() -> bool {
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else {
        return true;
    };
    interfaces.flatten().any(|entry| {
        let name = entry.file_name();
        // Tunnels of the kernel stand in every namespace and lead nowhere.
        let idle = [
            "lo",
            "tunl0",
            "sit0",
            "ip6tnl0",
            "gre0",
            "gretap0",
            "erspan0",
            "ip_vti0",
            "ip6_vti0",
            "ip6gre0",
            "bonding_masters",
        ];
        !idle.iter().any(|known| name.to_str() == Some(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarder_that_ends_by_itself_is_noticed() {
        let shutdown = Shutdown::new();
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let forwarders = [std::thread::spawn(move || {
            wait.recv().ok();
        })];
        assert!(!ended_early(&forwarders, &shutdown));
        drop(stop);
        while !forwarders[0].is_finished() {
            std::thread::yield_now();
        }
        assert!(ended_early(&forwarders, &shutdown));
        shutdown.begin();
        assert!(!ended_early(&forwarders, &shutdown), "it was told to");
    }
}
