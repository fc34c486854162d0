//! Looks after a running program: a line an hour, and the doctor at start, daily and when it is unwell.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Resident, examine};
use crate::doctor::{Report, Severity};
use crate::heartbeat::{Heartbeat, MAX_AGE};
use crate::publish;
use crate::shutdown::Shutdown;
use crate::text::Language;

/// How often the attendant looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Each `run` writes at least one line an hour.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(3_590);

/// How often the doctor comes unasked.
const DOCTOR_EVERY: Duration = Duration::from_hours(24);

/// A thread beside the resident.
pub(super) struct Attendant {
    dismissed: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Attendant {
    /// Ends the thread; it holds nothing that would have to be waited for long.
    pub(super) fn dismiss(self) {
        self.dismissed.begin();
        if let Some(thread) = self.thread {
            thread.join().ok();
        }
    }
}

/// Starts looking after `service`, whose doctor just made `report`.
pub(super) fn spawn<R: Resident>(
    service: &'static str,
    config: R::Config,
    report: Report,
    shutdown: &Shutdown,
) -> Attendant {
    let dismissed = Shutdown::new();
    let token = dismissed.clone();
    let stopping = dismissed.clone();
    shutdown.on_soft(move || stopping.begin());
    let spawned = thread::Builder::new()
        .name("attendant".to_owned())
        .spawn(move || attend::<R>(service, &config, &report, &token));
    if let Err(error) = &spawned {
        tracing::warn!(event = "attendant.failed", %error, "no thread for the doctor");
    }
    Attendant {
        dismissed,
        thread: spawned.ok(),
    }
}

fn attend<R: Resident>(
    service: &'static str,
    config: &R::Config,
    report: &Report,
    token: &Shutdown,
) {
    let kit = R::kit(config);
    let consult = || {
        deliver(
            service,
            &kit.log.dir,
            kit.language,
            &examine::<R>(config, &kit),
        );
    };
    // Nothing to say of a start that was told before.
    if !report.findings.is_empty() {
        deliver(service, &kit.log.dir, kit.language, report);
    }
    let heartbeat = Heartbeat::new(service);
    let begun = Instant::now();
    let (mut signed, mut visited) = (begun, begun);
    let mut was_well = true;
    while !token.wait(LOOK_EVERY) {
        if signed.elapsed() >= SIGN_OF_LIFE_EVERY {
            signed = Instant::now();
            tracing::info!(
                event = "alive",
                uptime_secs = begun.elapsed().as_secs(),
                "still here"
            );
        }
        let health = heartbeat.judge();
        let settled = begun.elapsed() >= MAX_AGE;
        if settled && was_well != health.is_ok() {
            was_well = health.is_ok();
            match health {
                Ok(_) => tracing::info!(event = "health.back", "healthy again"),
                Err(reason) => {
                    tracing::error!(event = "health.lost", "{reason}");
                    consult();
                }
            }
        }
        if visited.elapsed() >= DOCTOR_EVERY {
            visited = Instant::now();
            consult();
        }
    }
}

/// Puts the doctor's report where the owner finds it: in the log, and as a file beside it.
fn deliver(service: &str, log_dir: &Path, language: Language, report: &Report) {
    for finding in &report.findings {
        let line = || {
            let fix = finding.fix.in_language(language);
            format!(
                "{} ({}) → {fix}",
                finding.what.in_language(language),
                finding.evidence
            )
        };
        match finding.severity {
            Severity::Fine => {}
            Severity::Warning => {
                tracing::warn!(event = "doctor.finding", id = finding.id, "{}", line());
            }
            Severity::Error => {
                tracing::error!(event = "doctor.finding", id = finding.id, "{}", line());
            }
        }
    }
    let path = log_dir.join(format!("doctor-{service}.txt"));
    if let Err(error) = publish::write(&path, report.text(language).as_bytes(), 0o666) {
        tracing::warn!(event = "doctor.unwritten", %error, path = %path.display(), "the doctor's report could not be written");
    }
}
