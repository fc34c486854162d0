//! This room takes secrets out of a line before it leaves the house, by exact value and by shape.

use std::borrow::Cow;

use regex::{Captures, Regex, RegexBuilder};

/// Shorter values would tear holes into ordinary words.
const SHORTEST_SECRET: usize = 8;

/// What stands where a secret stood: no character that JSON would have to escape.
const MARK: &str = "[redacted]";

/// Shapes that are secret whatever stands around them. Group `keep`, where there is one, stays.
const SHAPES: [&str; 11] = [
    // Discord: bot and user tokens, webhook addresses.
    r"[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}",
    r"(?<keep>https?://[^\s/]+/api/(?:v[0-9]+/)?webhooks/[0-9]+/)[A-Za-z0-9_-]+",
    // Keys of model providers, of AWS and of age.
    r"(?-u:\b)sk-[A-Za-z0-9_-]{16,}",
    r"(?-u:\b)AIza[A-Za-z0-9_-]{30,}",
    r"(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)",
    r"(?i)(?-u:\b)AGE-SECRET-KEY-1[0-9A-Z]{30,}",
    // JSON web tokens.
    r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    // Credentials in headers, addresses and assignments.
    r"(?i)(?<keep>(?-u:\b)(?:authorization|proxy-authorization)[^A-Za-z0-9]{1,6}(?:bearer|basic|bot)?\s*)[^\s,;'\x22\\]{6,}",
    r"(?i)(?<keep>(?-u:\b)(?:bearer|basic)\s+)[A-Za-z0-9+/._~=-]{16,}",
    r"(?<keep>(?-u:\b)[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?<after>@)",
    r"(?i)(?<keep>(?-u:\b)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)['\x22]?\s*[=:]\s*['\x22]?)[^\s,;'\x22\\&}]{6,}",
];

/// Names of fields whose whole value is a secret.
const SECRET_FIELDS: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
];

/// The censor.
#[derive(Debug)]
pub struct Redactor {
    exact: Vec<String>,
    shapes: Vec<Regex>,
}

impl Redactor {
    /// Knows the shapes, and these values.
    pub fn new(secrets: Vec<String>) -> Result<Redactor, regex::Error> {
        let mut exact: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .collect();
        // A secret may hold another one: the longer goes first.
        exact.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let shapes = SHAPES
            .iter()
            .map(|shape| RegexBuilder::new(shape).build())
            .collect::<Result<_, _>>()?;
        Ok(Redactor { exact, shapes })
    }

    /// A line without secrets. JSON stays JSON: each string in it is judged by what it means, not how it is escaped.
    #[must_use]
    pub fn line<'a>(&self, line: &'a str) -> Cow<'a, str> {
        if !line.starts_with('{') || serde_json::from_str::<serde::de::IgnoredAny>(line).is_err() {
            return self.text(line);
        }
        let mut out = String::new();
        let (mut done, mut at, mut field) = (0, 0, None::<String>);
        while let Some(open) = line[at..].find('"').map(|found| at + found) {
            let Some(close) = end_of_string(line, open) else {
                break;
            };
            at = close;
            let Ok(meant) = serde_json::from_str::<String>(&line[open..close]) else {
                continue;
            };
            if line[close..].trim_start().starts_with(':') {
                field = Some(meant.to_ascii_lowercase());
                continue;
            }
            let secret_field = field
                .take()
                .is_some_and(|name| SECRET_FIELDS.contains(&name.as_str()));
            let clean = if secret_field && !meant.is_empty() {
                Cow::Borrowed(MARK)
            } else {
                self.text(&meant)
            };
            if clean != meant {
                out.push_str(&line[done..open]);
                out.push_str(&serde_json::Value::from(clean.as_ref()).to_string());
                done = close;
            }
        }
        if done == 0 {
            return Cow::Borrowed(line);
        }
        out.push_str(&line[done..]);
        Cow::Owned(out)
    }

    /// A text without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in &self.exact {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), MARK));
            }
        }
        for shape in &self.shapes {
            if !shape.is_match(&clean) {
                continue;
            }
            let replaced = shape.replace_all(&clean, |found: &Captures<'_>| {
                let part = |name| found.name(name).map_or("", |part| part.as_str());
                format!("{}{MARK}{}", part("keep"), part("after"))
            });
            clean = Cow::Owned(replaced.into_owned());
        }
        clean
    }
}

/// The index after the quote that closes the string which opens at `open`.
fn end_of_string(line: &str, open: usize) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One for all cases: its patterns are compiled once, as in the program.
    fn redactor() -> &'static Redactor {
        static ONE: std::sync::OnceLock<Redactor> = std::sync::OnceLock::new();
        ONE.get_or_init(|| {
            Redactor::new(vec![
                "hunter2-hunter2".into(),
                "qu\"ote\\d secret".into(),
                "ab".into(),
            ])
            .unwrap()
        })
    }

    // Put together at run time: no scanner shall take a test for a leak.
    fn token() -> String {
        format!("{}.{}.{}", "M".repeat(24), "abcdef", "x".repeat(30))
    }

    #[test]
    fn shapes_go_and_their_surroundings_stay() {
        let token = token();
        for (text, wanted) in [
            (
                format!("login with {token} failed"),
                "login with [redacted] failed".to_owned(),
            ),
            (
                format!(
                    "POST https://discord.com/api/webhooks/12345/{}",
                    "k".repeat(40)
                ),
                "POST https://discord.com/api/webhooks/12345/[redacted]".to_owned(),
            ),
            (
                format!("key sk-{}", "a".repeat(30)),
                "key [redacted]".to_owned(),
            ),
            (
                "https://user:pa55word@nas/x".to_owned(),
                "https://user:[redacted]@nas/x".to_owned(),
            ),
            (
                "Authorization: Bearer abcdefghijkl".to_owned(),
                "Authorization: Bearer [redacted]".to_owned(),
            ),
            (
                "{'token': 'abcdef123456'}".to_owned(),
                "{'token': '[redacted]'}".to_owned(),
            ),
            (
                "tokens 1234567 in, answer sent".to_owned(),
                "tokens 1234567 in, answer sent".to_owned(),
            ),
            (
                "my pass is hunter2-hunter2, ab".to_owned(),
                "my pass is [redacted], ab".to_owned(),
            ),
        ] {
            assert_eq!(redactor().text(&text), wanted);
        }
    }

    #[test]
    fn a_field_with_a_telling_name_loses_its_value() {
        let line = r#"{"level":"INFO","token":"short","n":1,"msg":"fine"}"#;
        assert_eq!(
            redactor().line(line),
            r#"{"level":"INFO","token":"[redacted]","n":1,"msg":"fine"}"#
        );
    }

    #[test]
    fn an_escaped_secret_is_found() {
        let line = serde_json::json!({"msg": "x qu\"ote\\d secret y", "a": 1}).to_string();
        let clean = redactor().line(&line).into_owned();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&clean).unwrap()["msg"],
            "x [redacted] y"
        );
    }

    proptest! {
        #[test]
        fn json_stays_json_and_no_secret_survives(before in any::<String>(), after in any::<String>(), key in "[a-z]{1,8}") {
            let redactor = redactor();
            for secret in ["hunter2-hunter2", "qu\"ote\\d secret", token().as_str()] {
                let line = serde_json::json!({"ts": "x", &key: format!("{before} {secret} {after}")}).to_string();
                let clean = redactor.line(&line).into_owned();
                prop_assert!(serde_json::from_str::<serde_json::Value>(&clean).is_ok(), "{}", clean);
                let meant = serde_json::from_str::<serde_json::Value>(&clean).unwrap().to_string();
                prop_assert!(!meant.contains("hunter2-hunter2") && !meant.contains("ote\\\\d secret") && !meant.contains(&token()));
            }
        }

        #[test]
        fn clean_lines_are_not_touched(words in "[a-zA-Z ぁ-ん]{0,60}") {
            let line = serde_json::json!({"msg": words}).to_string();
            prop_assert!(matches!(redactor().line(&line), Cow::Borrowed(_)));
        }
    }
}
