//! This room is the shared `main` of the residents: config → checks → logging → one build-info line → run → exit code.
//!
//! With `ON_START_ERROR=hold` a start that cannot succeed is said once, completely, with its cure; then the process
//! stays up, unhealthy, looks again, and goes on by itself when it is mended: no restart storm, no alarm storm.

mod attendant;
mod frugal;
mod hold;
mod signals;
#[cfg(test)]
mod tests;
mod verbs;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use hold::{Anew, Hold};
pub use verbs::{config, doctor, healthcheck, print_config};

use crate::doctor::{self, Finding, Report, Severity};
use crate::env::{Env, Settled};
use crate::heartbeat::Heartbeat;
use crate::logging::{self, LogHandle, LogSettings};
use crate::shutdown::Shutdown;
use crate::text::Language;
use crate::time;
use hold::{Holding, Trouble};

/// The exit code of a wrong configuration or a start that cannot succeed (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIGURATION: u8 = 78;

/// Who a program is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name in logs, locks and heartbeats, such as `backup-sidecar`.
    pub service: &'static str,
    /// Version, commit, target and library versions, on one line.
    pub build: String,
}

/// A directory that a program needs.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the owner calls it, such as `data`.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it must be writable.
    pub write: bool,
    /// Whether it must not lie on a network file system, because a database or a lock is in it.
    pub local: bool,
    /// Below this many free bytes the owner is warned; 0 = never.
    pub min_free_bytes: u64,
}

/// What the kit needs to know of a configuration.
#[derive(Clone, Debug)]
pub struct KitSettings {
    /// Where and how to log. Its directory is also where `doctor-<service>.txt` goes.
    pub log: LogSettings,
    /// The owner's language.
    pub language: Language,
    /// The directories to look at, the log directory among them.
    pub places: Vec<Place>,
    /// Whether the owner wants network file systems to be accepted.
    pub allow_network_filesystem: bool,
}

/// What `run` gets from the kit.
#[derive(Clone, Debug)]
pub struct House {
    /// When to stop.
    pub shutdown: Shutdown,
    /// To be beaten by the loop that does the work, at least every [`crate::heartbeat::INTERVAL`].
    pub heartbeat: Heartbeat,
    /// The owner's language.
    pub language: Language,
    /// The log of this process.
    pub log: LogHandle,
    /// Whether the settings or secrets are others by now, and good.
    pub changed: Changed,
}

/// Tells whether the configuration is another than the one in force. It reads secret files and tries directories, so it
/// may block.
#[derive(Clone)]
pub struct Changed(Arc<dyn Fn() -> bool + Send + Sync>);

impl Changed {
    /// Looks now.
    #[must_use]
    pub fn look(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}

/// One of the three programs.
pub trait Resident: 'static {
    /// Complete, valid, immutable.
    type Config: Clone + Send + 'static;

    /// Who it is.
    fn identity() -> Identity;

    /// Asks `env` for everything. With problems recorded there, the result is thrown away.
    fn configure(env: &mut Env) -> Self::Config;

    /// What the kit needs to know.
    fn kit(config: &Self::Config) -> KitSettings;

    /// What else can be looked at before the first port opens, and again each day.
    fn check(config: &Self::Config) -> Vec<Finding>;

    /// Works until it is drained.
    ///
    /// # Errors
    /// [`Hold`] when it cannot start for a reason that the owner can mend, [`Anew`] to begin again with changed
    /// settings; anything else is a crash.
    fn run(config: Self::Config, house: House) -> anyhow::Result<()>;
}

/// Version, commit and target, for `--version` and the first line; `more` names libraries.
#[must_use]
pub fn build_info(version: &str, more: &str) -> String {
    let commit = option_env!("KOTONOHA_COMMIT").unwrap_or("unknown commit");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(", {more}")
    };
    format!("{version} ({commit}, {target}{more})")
}

/// As [`run`], for a program that works seldom and then much: what it needed for that goes back to the system. The
/// program begins anew for it, so this comes before everything else.
#[must_use]
pub fn run_frugally<R: Resident>(env: &Env) -> ExitCode {
    frugal::begin();
    run::<R>(env)
}

/// Runs a resident until it is told to stop.
#[must_use]
pub fn run<R: Resident>(env: &Env) -> ExitCode {
    let identity = R::identity();
    let log = logging::install(identity.service);
    let shutdown = Shutdown::new();
    if let Err(error) = signals::listen(&shutdown) {
        tracing::error!(event = "start.failed", %error, "signals cannot be received");
        return ExitCode::FAILURE;
    }
    let settings = env.fresh();
    // A start that is held writes no log file, but its rows too are read by somebody with a clock.
    log.set_zone(env.fresh().zone());
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(env.fresh().umask()));
    let mut holding = Holding::new(
        env.fresh().on_start_error(),
        Heartbeat::new(identity.service),
    );
    let mut announced = None;
    loop {
        let trouble = match attempt::<R>(&settings, &identity, (&log, &mut announced), &shutdown) {
            Ok(code) => return code,
            Err(trouble) if trouble.is_anew() => continue,
            Err(trouble) => trouble,
        };
        let changed = |fingerprint| {
            prepare::<R>(&settings).map_or(true, |ready| ready.fingerprint != fingerprint)
        };
        if let Some(code) = holding.hold(&trouble, &shutdown, changed) {
            return code;
        }
    }
}

fn changed<R: Resident>(env: &Env, fingerprint: u64) -> Changed {
    let env = env.fresh();
    Changed(Arc::new(move || {
        prepare::<R>(&env).is_ok_and(|ready| ready.fingerprint != fingerprint)
    }))
}

/// A configuration that is complete and whose directories can be used.
struct Ready<C> {
    config: C,
    kit: KitSettings,
    settled: Settled,
    report: Report,
    fingerprint: u64,
}

/// One start: everything up to the end of the program, or the trouble that keeps it from starting.
fn attempt<R: Resident>(
    env: &Env,
    identity: &Identity,
    (log, announced): (&LogHandle, &mut Option<u64>),
    shutdown: &Shutdown,
) -> Result<ExitCode, Trouble> {
    let mut ready = prepare::<R>(env)?;
    // A start that is tried again every few seconds, until another container lets go, is told once.
    let is_told = announced.replace(ready.fingerprint) == Some(ready.fingerprint);
    match log.open(&ready.kit.log) {
        Ok(true) => {}
        Ok(false) if is_told => {}
        Ok(false) => tracing::warn!(
            event = "log.shared",
            "another process writes this service's log file; this one logs to standard output alone"
        ),
        Err(error) => {
            tracing::error!(event = "log.closed", %error, "the log file cannot be opened; logging to standard output alone");
        }
    }
    let begun = Instant::now();
    if is_told {
        ready.report.findings.clear();
    } else {
        announce(identity, &ready);
    }
    let house = House {
        shutdown: shutdown.clone(),
        heartbeat: Heartbeat::new(identity.service),
        language: ready.kit.language,
        log: log.clone(),
        changed: changed::<R>(env, ready.fingerprint),
    };
    let attendant = attendant::spawn::<R>(
        identity.service,
        ready.config.clone(),
        ready.report,
        shutdown,
    );
    let outcome = R::run(ready.config, house);
    attendant.dismiss();
    conclude(outcome, begun.elapsed(), ready.fingerprint)
}

fn prepare<R: Resident>(env: &Env) -> Result<Ready<R::Config>, Trouble> {
    let mut env = env.fresh();
    env.on_start_error();
    env.umask();
    let config = R::configure(&mut env);
    let fingerprint = env.fingerprint();
    let settled = env
        .finish()
        .map_err(|problems| Trouble::from_problems(&problems))?;
    let kit = R::kit(&config);
    let report = examine::<R>(&config, &kit);
    if report.severity() == Severity::Error {
        return Err(Trouble::from_findings(&report.findings));
    }
    Ok(Ready {
        config,
        kit,
        settled,
        report,
        fingerprint,
    })
}

/// Looks at everything that can be looked at without opening a port.
fn examine<R: Resident>(config: &R::Config, kit: &KitSettings) -> Report {
    let mut findings = vec![doctor::clock(time::now())];
    for place in &kit.places {
        let usable = doctor::directory(&place.path, place.name, place.write);
        let is_usable = usable.severity == Severity::Fine;
        findings.push(usable);
        if is_usable && place.local {
            findings.extend(doctor::file_system(
                &place.path,
                place.name,
                kit.allow_network_filesystem,
            ));
        }
        if is_usable && place.min_free_bytes > 0 {
            findings.extend(doctor::free_space(
                &place.path,
                place.name,
                place.min_free_bytes,
            ));
        }
    }
    // What lies in a directory that cannot be used cannot be looked at either.
    if findings
        .iter()
        .all(|finding| finding.severity != Severity::Error)
    {
        findings.extend(R::check(config));
    }
    Report { findings }
}

fn announce<C>(identity: &Identity, ready: &Ready<C>) {
    tracing::info!(
        event = "start",
        build = identity.build,
        config = shown_fingerprint(ready.fingerprint),
        "{} starts",
        identity.service
    );
    let shown = ready
        .settled
        .effective
        .iter()
        .filter(|shown| !shown.value.is_empty());
    let settings: Vec<String> = shown
        .map(|shown| format!("{}={}", shown.name, shown.value))
        .collect();
    tracing::info!(
        event = "settings",
        settings = settings.join(" "),
        "settings in force"
    );
    for notice in &ready.settled.notices {
        tracing::warn!(
            event = "config.notice",
            "{}",
            notice.in_language(ready.kit.language)
        );
    }
}

/// Six digits: enough to see that a change arrived, too few to learn anything about a secret from.
fn shown_fingerprint(fingerprint: u64) -> String {
    format!("{:06x}", fingerprint & 0x00ff_ffff)
}

fn conclude(
    outcome: anyhow::Result<()>,
    ran: Duration,
    fingerprint: u64,
) -> Result<ExitCode, Trouble> {
    let uptime_secs = ran.as_secs();
    match outcome {
        Ok(()) => {
            tracing::info!(event = "stop", uptime_secs, "drained; goodbye");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is::<Anew>() => {
            tracing::info!(
                event = "start.anew",
                uptime_secs,
                "the configuration changed; beginning anew with it"
            );
            Err(Trouble::anew())
        }
        Err(error) => match error.downcast::<Hold>() {
            Ok(hold) => Err(Trouble::from_hold(&hold, fingerprint)),
            Err(error) => {
                tracing::error!(event = "crash", uptime_secs, error = %Chain(&error), "stopped by an error");
                Ok(ExitCode::FAILURE)
            }
        },
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a anyhow::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
