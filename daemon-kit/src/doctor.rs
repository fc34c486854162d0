//! This room finds what is wrong and says how to mend it: a finding = what, evidence, exact fix.

mod checks;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::{Value, json};

pub use checks::{clock, directory, file_system, free_space};

use crate::text::{Language, Text};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Works, but the owner should know.
    Warning,
    /// Does not work until it is mended.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable name, such as `data-dir`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, in a sentence.
    pub what: Text,
    /// Numbers, paths, system errors; never a secret.
    pub evidence: String,
    /// What to do, exactly; empty when nothing is to be done.
    pub fix: Text,
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn fine(id: &'static str, what: Text, evidence: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Fine,
            what,
            evidence: evidence.into(),
            fix: Text::new("", ""),
        }
    }

    /// Something the owner should know.
    #[must_use]
    pub fn warning(id: &'static str, what: Text, evidence: impl Into<String>, fix: Text) -> Self {
        Self {
            id,
            severity: Severity::Warning,
            what,
            evidence: evidence.into(),
            fix,
        }
    }

    /// Something that must be mended.
    #[must_use]
    pub fn error(id: &'static str, what: Text, evidence: impl Into<String>, fix: Text) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(id, what, evidence, fix)
        }
    }

    /// The whole finding on one line, in both languages.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} ({}) → {}",
            self.what.both(),
            self.evidence,
            self.fix.both()
        )
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The gravest severity of all findings.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.max().unwrap_or(Severity::Fine)
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.severity {
                Severity::Fine => "OK ",
                Severity::Warning => "!  ",
                Severity::Error => "NG ",
            };
            // Writing to a String cannot fail.
            write!(text, "{mark} {}", finding.what.in_language(language)).ok();
            if !finding.evidence.is_empty() {
                write!(text, " ({})", finding.evidence).ok();
            }
            let fix = finding.fix.in_language(language);
            if !fix.is_empty() {
                write!(text, "\n    → {fix}").ok();
            }
            text.push('\n');
        }
        text
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "id": finding.id,
                "severity": match finding.severity {
                    Severity::Fine => "fine",
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                },
                "what": { "ja": finding.what.ja, "en": finding.what.en },
                "evidence": finding.evidence,
                "fix": { "ja": finding.fix.ja, "en": finding.fix.en },
            })
        });
        json!({ "findings": findings.collect::<Vec<_>>() })
    }
}
