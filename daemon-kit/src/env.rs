//! This room reads the environment: once, from an injected map, gathering every problem instead of stopping at the first.
//!
//! Empty means unset. A byte-order mark, a carriage return or quotes around a value are forgiven and reported.
//! A secret comes from `NAME`, from the file that `NAME_FILE` names, or from `/run/secrets/<name in lower case>`.

mod read;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

pub use shared::OnStartError;

use crate::doctor::Finding;
use crate::nas::Nas;
use crate::text::{Language, Text};

/// Where compose mounts the secrets of a service.
pub const SECRETS_DIR: &str = "/run/secrets";

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub name: &'static str,
    /// What was given; never the value of a secret.
    pub given: Option<String>,
    /// What was expected.
    pub expected: Text,
    /// A value that would do.
    pub example: String,
}

impl Problem {
    /// The problem as one line, in both languages, ending with the step that puts its cure in force.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            name,
            expected,
            example,
            ..
        } = self;
        let given = self.given.as_ref().map_or_else(String::new, |given| {
            format!(" (いまの値 / given: {given:?})")
        });
        let apply = Nas::here().apply().both();
        format!(
            "{name}{given}: {} / {} — 例 / example: {name}={example} → {apply}",
            expected.ja, expected.en
        )
    }
}

impl Problem {
    /// The problem as the doctor shows it.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let Self {
            name,
            expected,
            example,
            ..
        } = self;
        let what = Text::new(
            format!("{name}: {}", expected.ja),
            format!("{name}: {}", expected.en),
        );
        let evidence = self.given.clone().unwrap_or_default();
        let fix = Text::new(
            format!("例: {name}={example}"),
            format!("example: {name}={example}"),
        );
        Finding::error("setting", what, evidence, fix).by_setting()
    }
}

/// A setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The variable.
    pub name: &'static str,
    /// Its effective value; `(set)` for a secret, empty when unset.
    pub value: String,
}

/// What is known once everything has been asked for.
#[derive(Debug)]
pub struct Settled {
    /// Forgiven or mapped values, to be reported once.
    pub notices: Vec<Text>,
    /// Every setting with its effective value, in the order it was asked for.
    pub effective: Vec<Shown>,
}

/// The environment, read through questions that remember what they were.
#[derive(Debug)]
pub struct Env {
    vars: BTreeMap<String, String>,
    secrets_dir: PathBuf,
    problems: Vec<Problem>,
    notices: Vec<Text>,
    effective: Vec<Shown>,
    asked: BTreeSet<&'static str>,
    answers: DefaultHasher,
}

impl Env {
    /// The environment of this process.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn from_process() -> Self {
        // A value that is not UTF-8 cannot be meant: it reads as its readable part, and is refused where it matters.
        let vars = std::env::vars_os().map(|(name, value)| {
            let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
            (text(name), text(value))
        });
        Self::from_map(vars)
    }

    /// An environment made of `vars`.
    pub fn from_map<N: Into<String>, V: Into<String>>(
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let vars = vars
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self {
            vars: vars.collect(),
            secrets_dir: PathBuf::from(SECRETS_DIR),
            problems: Vec::new(),
            notices: Vec::new(),
            effective: Vec::new(),
            asked: BTreeSet::new(),
            answers: DefaultHasher::new(),
        }
    }

    /// The same, with secrets looked for in `dir`.
    #[must_use]
    pub fn with_secrets_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.secrets_dir = dir.into();
        self
    }

    /// The same variables with nothing asked yet: secret files are read anew.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::from_map(self.vars.clone()).with_secrets_dir(&self.secrets_dir)
    }

    /// Records that `name` is wrong in a way that only the caller can see, such as a rule across settings.
    pub fn problem(&mut self, name: &'static str, expected: Text, example: &str) {
        self.problems.push(Problem {
            name,
            given: None,
            expected,
            example: example.to_owned(),
        });
    }

    /// Records something to be reported once at start.
    pub fn notice(&mut self, notice: Text) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// A number that changes when an answer, also a secret one, does.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.answers.finish()
    }

    /// The names asked for so far, in alphabetical order.
    #[must_use]
    pub fn asked(&self) -> Vec<&'static str> {
        self.asked.iter().copied().collect()
    }

    /// Ends the questions.
    ///
    /// # Errors
    /// With every problem found, in the order of the questions.
    pub fn finish(self) -> Result<Settled, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(Settled {
                notices: self.notices,
                effective: self.effective,
            })
        } else {
            Err(self.problems)
        }
    }

    /// `BOT_LANGUAGE`: what members and owner read.
    pub fn language(&mut self) -> Language {
        let read = |text: &str| text.parse().ok();
        let expected = Text::new("ja か en を指定してください", "must be ja or en");
        self.parsed("BOT_LANGUAGE", "ja", &expected, "ja", read)
            .unwrap_or_default()
    }

    fn show(&mut self, name: &'static str, value: impl Into<String>) {
        if self.asked.insert(name) {
            let value = value.into();
            (name, &value).hash(&mut self.answers);
            self.effective.push(Shown { name, value });
        }
    }

    fn refuse(&mut self, name: &'static str, given: &str, expected: Text, example: &str) {
        self.show(name, given);
        self.problems.push(Problem {
            name,
            given: Some(given.to_owned()),
            expected,
            example: example.to_owned(),
        });
    }
}
