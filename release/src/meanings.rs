//! Reads `.env.example`: each variable, its default and its two lines of meaning. Pure.

use std::collections::BTreeMap;

/// What `.env.example` says about one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) default: String,
    pub(crate) ja: String,
    pub(crate) en: String,
}

/// Every variable of `text`, whether its line is live or commented out.
pub(crate) fn read(text: &str) -> BTreeMap<String, Meaning> {
    let lines: Vec<&str> = text.lines().collect();
    let described = lines.windows(3).filter_map(|window| {
        let [ja, en, setting] = window else {
            return None;
        };
        let (name, default) = setting.trim_start_matches('#').split_once('=')?;
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_uppercase())
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let meaning = Meaning {
            default: default.trim_matches('\'').to_owned(),
            ja: ja.strip_prefix("# ")?.to_owned(),
            en: en.strip_prefix("# ")?.to_owned(),
        };
        is_name(name).then(|| (name.to_owned(), meaning))
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_two_lines_of_meaning_and_a_default() {
        let text =
            "# head\n\n# 時刻帯\n# Time zone\n#TZ=Asia/Tokyo\n\n# いつ\n# When\n#AT='0 2 * * *'\n";
        let read = read(text);
        assert_eq!(read.len(), 2);
        assert_eq!(read["TZ"].default, "Asia/Tokyo");
        assert_eq!(
            (read["AT"].ja.as_str(), read["AT"].default.as_str()),
            ("いつ", "0 2 * * *")
        );
    }
}
