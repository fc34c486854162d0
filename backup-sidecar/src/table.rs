//! This room draws the archives as a table for people, and as JSON for programs.

use std::fmt::Write as _;

use daemon_kit::text::Language;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::drill;
use crate::manifest::Cause;
use crate::report::bytes;
use crate::retention::{Reason, Verdict};

/// One line an archive, newest first.
#[must_use]
pub fn text(
    catalog: &Catalog,
    verdicts: &[Verdict],
    zone: &TimeZone,
    language: Language,
) -> String {
    let mut text = grid(&rows(catalog, verdicts, zone, language));
    if let Some(freeze) = catalog.freeze() {
        let line = match language {
            Language::Ja => format!(
                "! 削除は止めてあります: {} ({})。承認は accept\n",
                freeze.name, freeze.loss
            ),
            Language::En => format!(
                "! Deletion is frozen: {} ({}). End it with accept\n",
                freeze.name, freeze.loss
            ),
        };
        text.push_str(&line);
    }
    if let Some(drill) = &catalog.drill {
        let at = drill
            .at
            .to_zoned_datetime(zone.clone())
            .strftime("%Y-%m-%d %H:%M")
            .to_string();
        let word = match language {
            Language::Ja => "復元の練習",
            Language::En => "last drill",
        };
        // Writing to a String cannot fail.
        writeln!(
            text,
            "{word}: {at} {} {} ({})",
            drill.archive,
            drill_word(&drill.result, language),
            drill.detail
        )
        .ok();
    }
    text
}

fn rows(
    catalog: &Catalog,
    verdicts: &[Verdict],
    zone: &TimeZone,
    language: Language,
) -> Vec<[String; 8]> {
    let head: [&str; 8] = match language {
        Language::Ja => [
            "名前",
            "日時",
            "理由",
            "大きさ",
            "行",
            "検査",
            "外部",
            "残す理由",
        ],
        Language::En => [
            "name", "taken", "reason", "size", "rows", "verified", "off-site", "kept by",
        ],
    };
    let mut rows = vec![head.map(str::to_owned)];
    for (name, record) in catalog.newest_first() {
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict.name == name.to_string());
        rows.push([
            name.to_string(),
            record
                .taken
                .to_zoned_datetime(zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string(),
            record
                .reason
                .map_or("?", |cause| cause_word(cause, language))
                .to_owned(),
            bytes(record.bytes),
            if record.databases.is_empty() {
                "?".to_owned()
            } else {
                record.rows().to_string()
            },
            proof(
                name.damaged,
                record.bad.as_deref(),
                record.verified.as_deref(),
                language,
            )
            .to_owned(),
            match (record.offsite.is_some(), language) {
                (false, _) => "-",
                (true, Language::Ja) => "あり",
                (true, Language::En) => "yes",
            }
            .to_owned(),
            verdict.map_or_else(String::new, |verdict| kept_by(verdict, language)),
        ]);
    }
    rows
}

/// The plan: what stays and why, what goes.
#[must_use]
pub fn plan(verdicts: &[Verdict], language: Language) -> String {
    let (stays, goes) = match language {
        Language::Ja => ("残す", "消す"),
        Language::En => ("keep", "remove"),
    };
    let rows: Vec<[String; 3]> = verdicts
        .iter()
        .map(|verdict| {
            let word = if verdict.goes() { goes } else { stays };
            [
                word.to_owned(),
                verdict.name.clone(),
                kept_by(verdict, language),
            ]
        })
        .collect();
    grid(&rows)
}

/// The same for programs.
#[must_use]
pub fn json(catalog: &Catalog, verdicts: &[Verdict], now: Timestamp) -> Value {
    let archives = catalog.newest_first().into_iter().map(|(name, record)| {
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict.name == name.to_string());
        let kept_by: Vec<&str> = verdict
            .iter()
            .flat_map(|verdict| &verdict.kept_by)
            .map(|reason| reason.word())
            .collect();
        json!({
            "name": name.to_string(),
            "taken": record.taken.to_string(),
            "reason": record.reason.map(Cause::word),
            "bytes": record.bytes,
            "rows": record.rows(),
            "databases": record.databases,
            "damaged": name.damaged,
            "sealed": name.sealed,
            "verified": record.verified,
            "bad": record.bad,
            "offsite": record.offsite,
            "kept_by": kept_by,
        })
    });
    json!({
        "archives": archives.collect::<Vec<_>>(),
        "latest": catalog.latest(now).map(|(name, _)| name.to_string()),
        "frozen": catalog.freeze().map(|freeze| json!({ "archive": freeze.name, "loss": freeze.loss })),
        "drill": catalog.drill,
    })
}

fn proof(
    damaged: bool,
    bad: Option<&str>,
    verified: Option<&str>,
    language: Language,
) -> &'static str {
    match (damaged, bad, verified, language) {
        (true, .., Language::Ja) => "破損",
        (true, .., Language::En) => "DAMAGED",
        (_, Some(_), _, Language::Ja) => "不良",
        (_, Some(_), _, Language::En) => "BAD",
        (_, _, Some(_), Language::Ja) => "済み",
        (_, _, Some(_), Language::En) => "yes",
        (.., Language::Ja) => "まだ",
        (.., Language::En) => "not yet",
    }
}

fn kept_by(verdict: &Verdict, language: Language) -> String {
    let words: Vec<&str> = verdict
        .kept_by
        .iter()
        .map(|reason| reason_word(*reason, language))
        .collect();
    words.join(" ")
}

fn cause_word(cause: Cause, language: Language) -> &'static str {
    match (language, cause) {
        (Language::En, cause) => cause.word(),
        (_, Cause::Schedule) => "定時",
        (_, Cause::Missed) => "取り戻し",
        (_, Cause::Start) => "起動時",
        (_, Cause::Manual) => "手動",
        (_, Cause::Request) => "フォルダ",
    }
}

fn reason_word(reason: Reason, language: Language) -> &'static str {
    match (language, reason) {
        (Language::En, reason) => reason.word(),
        (_, Reason::Frozen) => "承認待ち",
        (_, Reason::Newest) => "最新",
        (_, Reason::Floor) => "最低数",
        (_, Reason::Days) => "日数",
        (_, Reason::Daily) => "日ごと",
        (_, Reason::Weekly) => "週ごと",
        (_, Reason::Monthly) => "月ごと",
        (_, Reason::Yearly) => "年ごと",
        (_, Reason::NoSuccessor) => "後継なし",
        (_, Reason::Ahead) => "未来の日付",
    }
}

/// How a drill ended, for people.
#[must_use]
pub fn drill_word(result: &str, language: Language) -> &str {
    match (language, result) {
        (Language::Ja, drill::PASSED) => "合格",
        (Language::Ja, drill::FAILED) => "不合格",
        (Language::Ja, drill::NOT_POSSIBLE) => "できません",
        _ => result,
    }
}

fn grid<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| columns(&row[column]))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - columns(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns on a terminal: Japanese letters take two.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|letter| if letter >= '\u{1100}' { 2 } else { 1 })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_a_reason_for_each() {
        let verdicts = [
            Verdict {
                name: "a".into(),
                kept_by: vec![Reason::Newest, Reason::Days],
            },
            Verdict {
                name: "b".into(),
                kept_by: vec![],
            },
        ];
        assert_eq!(
            plan(&verdicts, Language::En),
            "keep    a  newest days\nremove  b\n"
        );
        assert_eq!(
            plan(&verdicts, Language::Ja),
            "残す  a  最新 日数\n消す  b\n"
        );
    }
}
