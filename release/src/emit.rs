//! Writes YAML that the oldest NAS parser reads: block style, every doubtful string in double quotes. Pure.

use serde_yaml::{Mapping, Value};

/// A comment to put above the line of a key, asked for with the path of keys that leads there.
pub(crate) type Comment<'a> = &'a dyn Fn(&[&str]) -> Vec<String>;

/// `mapping` as YAML text.
pub(crate) fn yaml(mapping: &Mapping, comment: Comment<'_>) -> String {
    let mut text = String::new();
    write_mapping(&mut text, mapping, &mut Vec::new(), comment);
    text
}

fn write_mapping<'a>(
    text: &mut String,
    mapping: &'a Mapping,
    path: &mut Vec<&'a str>,
    comment: Comment<'_>,
) {
    let indent = "  ".repeat(path.len());
    for (key, value) in mapping {
        let key = key.as_str().unwrap_or_default();
        path.push(key);
        for line in comment(path) {
            text.extend([&indent, "# ", &line, "\n"]);
        }
        match value {
            Value::Mapping(inner) => {
                text.extend([&indent, key, ":\n"]);
                write_mapping(text, inner, path, comment);
            }
            Value::Sequence(items) => {
                text.extend([&indent, key, ":\n"]);
                for item in items {
                    text.extend([&indent, "  - ", &scalar(item), "\n"]);
                }
            }
            other => text.extend([&indent, key, ": ", &scalar(other), "\n"]),
        }
        path.pop();
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        _ => "null".to_owned(),
    }
}

/// Whether every YAML version reads `text` as the string it is: words like `no` and `on` are switches to old ones.
fn is_plain(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
        && !reserved.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let source = r#"{services: {bot: {a: "on", b: true, c: 128, d: '${X:-1}:${Y:-2}', e: "q\"\\", f: ['3', unless-stopped], g: ''}}}"#;
        let value: Mapping = serde_yaml::from_str(source).unwrap();
        let text = yaml(&value, &|_| Vec::new());
        assert_eq!(
            serde_yaml::from_str::<Mapping>(&text).unwrap(),
            value,
            "{text}"
        );
    }

    #[test]
    fn a_comment_stands_above_its_key_at_the_same_depth() {
        let value: Mapping = serde_yaml::from_str("{a: {b: c}}").unwrap();
        let about_b = |path: &[&str]| {
            let found = path == ["a", "b"];
            found.then(|| "why".to_owned()).into_iter().collect()
        };
        assert_eq!(yaml(&value, &about_b), "a:\n  # why\n  b: c\n");
    }
}
