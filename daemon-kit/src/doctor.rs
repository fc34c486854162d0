//! This room finds what is wrong and says how to mend it: a finding = what, evidence, exact fix.

mod checks;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::{Value, json};

pub use checks::{clock, directory, file_system, free_space};

use crate::nas::Nas;
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
    /// Lines to paste into `.env`, ready as they are.
    pub paste: Vec<String>,
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
            paste: Vec::new(),
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
            paste: Vec::new(),
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

    /// The same for something whose cure is a setting: the fix ends with the step that puts it in force.
    #[must_use]
    pub fn by_setting(mut self) -> Self {
        let Text { ja, en } = Nas::here().apply();
        self.fix = Text::new(
            format!("{}。{ja}", self.fix.ja),
            format!("{}; {en}", self.fix.en),
        );
        self
    }

    /// The same with lines to paste into `.env`.
    #[must_use]
    pub fn with_paste(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.paste.extend(lines);
        self
    }

    /// The whole finding on one line, in both languages; lines to paste follow, each on its own.
    #[must_use]
    pub fn line(&self) -> String {
        let line = format!(
            "{} ({}) → {}",
            self.what.both(),
            self.evidence,
            self.fix.both()
        );
        self.paste
            .iter()
            .fold(line, |text, paste| format!("{text}\n{paste}"))
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
            for paste in &finding.paste {
                write!(text, "\n{paste}").ok();
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
                "paste": finding.paste,
            })
        });
        json!({ "findings": findings.collect::<Vec<_>>() })
    }
}
