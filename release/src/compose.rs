//! Merges a compose file with an override as compose does, for the keys these files use. Pure.

use anyhow::{Context, Result, bail};
use serde_yaml::{Mapping, Value};

/// A compose file with its anchors resolved and its `x-` keys gone.
pub(crate) fn parse(text: &str) -> Result<Mapping> {
    let value: Value = serde_yaml::from_str(text).context("not YAML")?;
    let Value::Mapping(mut file) = resolve(value) else {
        bail!("a compose file is a mapping");
    };
    file.retain(|key, _| key.as_str().is_none_or(|key| !key.starts_with("x-")));
    Ok(file)
}

/// `value` without merge keys: what they bring stands after a mapping's own keys, which win.
fn resolve(value: Value) -> Value {
    match value {
        Value::Mapping(mut mapping) => {
            let inherited = mapping.shift_remove("<<");
            let mut resolved: Mapping = mapping
                .into_iter()
                .map(|(key, value)| (key, resolve(value)))
                .collect();
            if let Some(Value::Mapping(inherited)) = inherited.map(resolve) {
                for (key, value) in inherited {
                    resolved.entry(key).or_insert(value);
                }
            }
            Value::Mapping(resolved)
        }
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(resolve).collect()),
        other => other,
    }
}

/// `base` with everything that `over` adds or replaces: mappings are merged, scalars replaced, lists continued, and a
/// volume replaces the one on the same target.
pub(crate) fn merge(base: &mut Mapping, over: Mapping) {
    for (key, value) in over {
        let same_key = base.get_mut(&key);
        match (same_key, value) {
            (Some(Value::Mapping(old)), Value::Mapping(new)) => merge(old, new),
            (Some(Value::Sequence(old)), Value::Sequence(new)) if key == "volumes" => {
                old.retain(|volume| !new.iter().any(|other| target(other) == target(volume)));
                old.extend(new);
            }
            (Some(Value::Sequence(old)), Value::Sequence(new)) => old.extend(new),
            (Some(old), new) => *old = new,
            (None, new) => {
                base.insert(key, new);
            }
        }
    }
}

/// Where a short volume is mounted: its second part, counted from behind because defaults hold colons too.
fn target(volume: &Value) -> Option<&str> {
    let text = volume.as_str()?;
    text.strip_suffix(":ro").unwrap_or(text).rsplit(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, over: &str) -> Value {
        let mut base = parse(base).unwrap();
        merge(&mut base, parse(over).unwrap());
        Value::Mapping(base)
    }

    #[test]
    fn an_override_adds_and_replaces_but_never_removes() {
        let base = "{services: {bot: {image: a, user: '1', cap_drop: [ALL]}}}";
        let over = "{services: {bot: {user: '2', logging: {driver: json-file}, cap_drop: [X]}}}";
        let expected = "{services: {bot: {image: a, user: '2', cap_drop: [ALL, X], logging: {driver: json-file}}}}";
        let expected: Value = serde_yaml::from_str(expected).unwrap();
        assert_eq!(merged(base, over), expected);
    }

    #[test]
    fn a_volume_replaces_the_one_on_the_same_target() {
        let base = "{volumes: ['${H:-.}/a:/a', './c:/c:ro']}";
        let over = "{volumes: ['/other:/a']}";
        let expected: Value =
            serde_yaml::from_str("{volumes: ['./c:/c:ro', '/other:/a']}").unwrap();
        assert_eq!(merged(base, over), expected);
    }

    #[test]
    fn anchors_are_resolved_and_their_holders_dropped() {
        let file = parse("{x-a: &a {init: true}, services: {bot: {<<: *a, user: u}}}").unwrap();
        let expected: Mapping =
            serde_yaml::from_str("{services: {bot: {user: u, init: true}}}").unwrap();
        assert_eq!(file, expected);
    }
}
