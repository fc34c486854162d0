//! The questions: text, numbers, switches, paths, sizes, lists, secrets.

use std::fmt::Display;
use std::fs;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

use super::Env;
use crate::text::Text;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// A secret file larger than this is not one.
const MAX_SECRET_BYTES: u64 = 64 << 10;

impl Env {
    /// The value of `name`, or `None` when it is unset, empty or a placeholder.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.value(name);
        self.show(name, value.clone().unwrap_or_default());
        value
    }

    /// The value of `name`, or `default`.
    pub fn text_or(&mut self, name: &'static str, default: &str) -> String {
        let value = self.value(name).unwrap_or_else(|| default.to_owned());
        self.show(name, value.clone());
        value
    }

    /// The value of `name`, or `default`, read by `read`. `None` only when a problem was recorded.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        default: &str,
        expected: &Text,
        example: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name).unwrap_or_else(|| default.to_owned());
        let parsed = read(&value);
        if parsed.is_some() {
            self.show(name, value);
        } else {
            self.refuse(name, &value, expected.clone(), example);
        }
        parsed
    }

    /// The same for a value that may be unset: `None` then, or when a problem was recorded.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        expected: &Text,
        example: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.value(name) else {
            self.show(name, "");
            return None;
        };
        let parsed = read(&value);
        if parsed.is_some() {
            self.show(name, value);
        } else {
            self.refuse(name, &value, expected.clone(), example);
        }
        parsed
    }

    /// A number within `range`.
    pub fn number<T>(&mut self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let (expected, example) = (number_in(&range), default.to_string());
        let read = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        self.parsed(name, &default.to_string(), &expected, &example, read)
            .unwrap_or(default)
    }

    /// A number within `range`, or nothing.
    pub fn optional_number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let (expected, example) = (number_in(&range), range.start().to_string());
        let read = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        self.optional(name, &expected, &example, read)
    }

    /// A switch: on/off, true/false, 1/0, yes/no.
    pub fn switch(&mut self, name: &'static str, default: bool) -> bool {
        let word = |on: bool| if on { "on" } else { "off" };
        let expected = Text::new("on か off を指定してください", "must be on or off");
        self.parsed(name, word(default), &expected, word(default), read_switch)
            .unwrap_or(default)
    }

    /// A path, relative to the working directory unless absolute.
    pub fn path(&mut self, name: &'static str, default: &str) -> PathBuf {
        PathBuf::from(self.text_or(name, default))
    }

    /// A path, or nothing.
    pub fn optional_path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A size in bytes. A bare number is MiB; `KB`, `MB` and `GB` (also `K`, `KiB`, …) are powers of 1,024.
    pub fn mebibytes(
        &mut self,
        name: &'static str,
        default_mib: u64,
        range_mib: RangeInclusive<u64>,
    ) -> u64 {
        let (low, high) = (*range_mib.start(), *range_mib.end());
        let expected = Text::new(
            format!("{low}〜{high} MB の大きさを指定してください (単位なしは MB)"),
            format!("must be a size from {low} to {high} MB (a bare number is MB)"),
        );
        let example = default_mib.to_string();
        let read = |text: &str| {
            let bytes = read_size(text)?;
            (low * MIB..=high.saturating_mul(MIB))
                .contains(&bytes)
                .then_some(bytes)
        };
        self.parsed(name, &example, &expected, &example, read)
            .unwrap_or(default_mib * MIB)
    }

    /// The parts of a comma-separated list, trimmed, without empty ones.
    pub fn list(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    /// A name that has lost its meaning: accepted, and reported once when it is set.
    pub fn retired(&mut self, name: &'static str, note: Text) {
        if self.value(name).is_some() {
            self.notice(note);
        }
        self.asked.insert(name);
    }

    /// A secret, or nothing.
    pub fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        let found = self.find_secret(name);
        found.hash(&mut self.answers);
        self.show(name, if found.is_some() { "(set)" } else { "" });
        found.map(SecretString::from)
    }

    /// A secret that must be there. When it is not, a problem is recorded and the answer is empty.
    pub fn required_secret(&mut self, name: &'static str, example: &str) -> SecretString {
        let before = self.problems.len();
        let found = self.secret(name);
        if found.is_none() && self.problems.len() == before {
            let file = name.to_lowercase();
            let expected = Text::new(
                format!(
                    "必須です。値を書くか、secrets フォルダに {file} というファイルを置いてください (ファイルは自動で読み直します)"
                ),
                format!(
                    "is required: set it, or put a file named {file} into the secrets folder (a file is read by itself)"
                ),
            );
            self.problem(name, expected, example);
        }
        found.unwrap_or_default()
    }

    fn find_secret(&mut self, name: &'static str) -> Option<String> {
        let given = self.value(name);
        let file_name = format!("{name}_FILE");
        let file = self
            .vars
            .get(&file_name)
            .filter(|path| !path.trim().is_empty())
            .cloned();
        match (given, file) {
            (Some(_), Some(_)) => {
                let expected = Text::new(
                    format!("{name} と {file_name} の両方があります。片方だけにしてください"),
                    format!("both {name} and {file_name} are set: keep one"),
                );
                self.problem(name, expected, "…");
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(path)) => self.secret_file(name, Path::new(path.trim()), true),
            (None, None) => {
                let path = self.secrets_dir.join(name.to_lowercase());
                self.secret_file(name, &path, false)
            }
        }
    }

    fn secret_file(&mut self, name: &'static str, path: &Path, named: bool) -> Option<String> {
        let read = fs::metadata(path).and_then(|found| {
            if !found.is_file() || found.len() > MAX_SECRET_BYTES {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            fs::read_to_string(path)
        });
        match read {
            Ok(text) => self.clean(name, &text).filter(|value| !value.is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => None,
            Err(error) => {
                let shown = path.display();
                let expected = Text::new(
                    format!(
                        "秘密のファイル {shown} を読めません ({error})。ファイルの場所と読み取り権限を確かめてください"
                    ),
                    format!(
                        "the secret file {shown} cannot be read ({error}): check its place and its permissions"
                    ),
                );
                self.problem(name, expected, "…");
                None
            }
        }
    }

    /// The cleaned value of `name`, without remembering that it was asked for.
    pub(super) fn value(&mut self, name: &'static str) -> Option<String> {
        let raw = self.vars.get(name)?.clone();
        let value = self.clean(name, &raw)?;
        (!value.is_empty()).then_some(value)
    }

    fn clean(&mut self, name: &'static str, raw: &str) -> Option<String> {
        let bare = raw.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        let unquoted = unquote(bare);
        if unquoted != bare || raw.contains(['\u{feff}', '\r']) {
            self.notice(Text::new(
                format!("{name}: まわりの引用符・BOM・改行コードを取り除いて読みました"),
                format!("{name}: surrounding quotes, a byte-order mark or a carriage return were ignored"),
            ));
        }
        if is_placeholder(unquoted) {
            self.notice(Text::new(
                format!("{name}: 見本の値のままなので、未設定として扱います"),
                format!(
                    "{name}: still holds the placeholder of the example, so it counts as unset"
                ),
            ));
            return None;
        }
        Some(unquoted.to_owned())
    }
}

fn number_in<T: Display>(range: &RangeInclusive<T>) -> Text {
    let (low, high) = (range.start(), range.end());
    Text::new(
        format!("{low}〜{high} の数を指定してください"),
        format!("must be a number from {low} to {high}"),
    )
}

fn read_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Some(true),
        "off" | "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn read_size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let count: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "K" | "KB" | "KIB" => 1 << 10,
        "" | "M" | "MB" | "MIB" => MIB,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit)
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.trim();
        }
    }
    text
}

/// `your_token_here` and its like, as examples of other people have them.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("your") && lower.ends_with("here") && lower.contains(['_', '-', ' '])
}
