//! What keeps a program from starting, and how it waits for the cure.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::EXIT_CONFIGURATION;
use crate::doctor::{Finding, Severity};
use crate::env::{OnStartError, Problem};
use crate::heartbeat::{Heartbeat, INTERVAL};
use crate::shutdown::Shutdown;

/// How often a holding program looks whether it has been mended.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it says that it still waits.
const REMIND_EVERY: Duration = Duration::from_hours(1);

/// The error of a `run` that cannot start for a reason the owner can mend.
#[derive(Debug)]
pub struct Hold {
    finding: Finding,
    until_changed: bool,
}

impl Hold {
    /// Tries again by itself, within a minute, again and again: for what others may end, such as a lock.
    #[must_use]
    pub fn and_retry(finding: Finding) -> Self {
        Self {
            finding,
            until_changed: false,
        }
    }

    /// Tries again only when a setting or secret has changed: for what others must not be asked again and again, such
    /// as a rejected token.
    #[must_use]
    pub fn until_changed(finding: Finding) -> Self {
        Self {
            finding,
            until_changed: true,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.line())
    }
}

impl std::error::Error for Hold {}

/// The error of a `run` that has drained because the configuration changed: it is begun anew at once.
#[derive(Debug)]
pub struct Anew;

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration changed")
    }
}

impl std::error::Error for Anew {}

/// Why a start did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    event: &'static str,
    lines: Vec<String>,
    /// The configuration that must change before it is worth trying again.
    until_changed: Option<u64>,
}

impl Trouble {
    pub(super) fn from_problems(problems: &[Problem]) -> Self {
        Self {
            event: "config.problem",
            lines: problems.iter().map(Problem::line).collect(),
            until_changed: None,
        }
    }

    pub(super) fn from_findings(findings: &[Finding]) -> Self {
        let errors = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        Self {
            event: "start.problem",
            lines: errors.map(Finding::line).collect(),
            until_changed: None,
        }
    }

    /// Nothing to mend: begin anew.
    pub(super) fn anew() -> Self {
        Self {
            event: "start.anew",
            lines: Vec::new(),
            until_changed: None,
        }
    }

    /// Whether there is anything to mend.
    pub(super) fn is_anew(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn from_hold(hold: &Hold, fingerprint: u64) -> Self {
        Self {
            event: "start.problem",
            lines: vec![hold.finding.line()],
            until_changed: hold.until_changed.then_some(fingerprint),
        }
    }

    fn say(&self) {
        let mut pasted = Vec::new();
        for line in &self.lines {
            let mut rows = line.lines();
            let first = rows.next().unwrap_or_default();
            tracing::error!(event = self.event, "{first}");
            // On rows of their own, so that they can be copied as they are; several folders of one owner need them once.
            for paste in rows {
                if !pasted.contains(&paste) {
                    tracing::warn!(event = "start.paste", "{paste}");
                    pasted.push(paste);
                }
            }
        }
    }

    /// The first thing to mend, on one row.
    fn reason(&self) -> &str {
        let first = self.lines.first().map_or("", String::as_str);
        first.lines().next().unwrap_or_default()
    }
}

/// A program that waits to be mended.
pub(super) struct Holding {
    on_error: OnStartError,
    heartbeat: Heartbeat,
    said: Option<Trouble>,
    reminded: Instant,
}

impl Holding {
    pub(super) fn new(on_error: OnStartError, heartbeat: Heartbeat) -> Self {
        Self {
            on_error,
            heartbeat,
            said: None,
            reminded: Instant::now(),
        }
    }

    /// Waits until it is worth trying again, or tells the code to end with. `changed` tells whether the configuration
    /// is another than the one with the given fingerprint.
    pub(super) fn hold(
        &mut self,
        trouble: &Trouble,
        shutdown: &Shutdown,
        changed: impl Fn(u64) -> bool,
    ) -> Option<ExitCode> {
        self.say_once(trouble);
        if self.on_error == OnStartError::Exit {
            return Some(ExitCode::from(EXIT_CONFIGURATION));
        }
        let reason = trouble.reason();
        let mut beaten: Option<Instant> = None;
        loop {
            if beaten.is_none_or(|then| then.elapsed() >= INTERVAL) {
                self.heartbeat
                    .unhealthy(&format!("waiting to be mended: {reason}"));
                beaten = Some(Instant::now());
            }
            if shutdown.wait(LOOK_EVERY) {
                return Some(ExitCode::SUCCESS);
            }
            self.remind(trouble);
            if trouble.until_changed.is_none_or(&changed) {
                return None;
            }
        }
    }

    fn say_once(&mut self, trouble: &Trouble) {
        let again = self
            .said
            .as_ref()
            .is_some_and(|said| said.lines == trouble.lines);
        if again {
            return;
        }
        trouble.say();
        if self.on_error == OnStartError::Hold {
            tracing::error!(
                event = "start.holding",
                problems = trouble.lines.len(),
                "直るまで待ちます。再起動は要りません / waiting until this is mended; no restart is needed"
            );
        }
        self.said = Some(Trouble {
            event: trouble.event,
            lines: trouble.lines.clone(),
            until_changed: None,
        });
        self.reminded = Instant::now();
    }

    fn remind(&mut self, trouble: &Trouble) {
        if self.reminded.elapsed() >= REMIND_EVERY {
            self.reminded = Instant::now();
            let line = trouble.reason();
            tracing::error!(
                event = "start.waiting",
                problems = trouble.lines.len(),
                "まだ直っていません / still waiting: {line}"
            );
        }
    }
}
