//! Until when old backups can hold what was forgotten: what the backup sidecar says about itself, in words. It leaves
//! `backup-facts.json` in `logs/`, since the two programs meet in directories only. Without it nothing is promised. And
//! where words are left that nobody knows to be whose.

use std::path::Path;

use daemon_kit::text::Language;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// What the sidecar leaves in `logs/`.
const FILE: &str = "backup-facts.json";
/// More than this is not from the sidecar.
const LARGEST: u64 = 16 << 10;
/// The sidecar writes at least every hour: after this it is away, and so is whoever deletes old archives.
const FRESH: SignedDuration = SignedDuration::from_hours(48);

/// The sidecar's own words about how long it keeps archives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Facts {
    /// When it said so, RFC 3339.
    at: String,
    /// Days after which an archive is gone at the latest, while new ones are made.
    days: i64,
    /// So many stay while no new ones are made.
    floor: u32,
    /// Whether new ones are made by themselves.
    scheduled: bool,
    /// Whether nothing is deleted until the owner says so.
    frozen: bool,
    /// Days after which copies off-site are gone at the latest, unless nothing is deleted; none = there are no copies.
    remote_days: Option<i64>,
}

/// The facts, if the sidecar has left any.
fn read(logs: &Path) -> Option<Facts> {
    let path = logs.join(FILE);
    let is_small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST);
    let bytes = is_small.then(|| std::fs::read(&path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// What still holds words that were forgotten `now`, and until when, as far as `logs` tells.
#[must_use]
pub fn still_held(logs: &Path, when: (Timestamp, &TimeZone), language: Language) -> String {
    words(read(logs).as_ref(), when, language)
}

/// Where words may be left that nobody knows to be this member's.
#[must_use]
pub fn nameless(language: Language) -> &'static str {
    match language {
        Language::Ja => {
            "前のボットから引き継いだスレッドには、だれの言葉かの記録がなく、全部がスレッドを始めた人の言葉として残っています。\
             ほかの人が始めたスレッドにあなたの言葉があれば、始めた人の `/forget` か、このボットの持ち主の操作でだけ消せます。"
        }
        Language::En => {
            "In threads taken over from the previous bot it was not written down who said what: all of a thread counts as the \
             words of whoever began it. If words of yours are in one that somebody else began, only their `/forget`, or the \
             owner of this bot, can take them away."
        }
    }
}

fn words(facts: Option<&Facts>, (now, zone): (Timestamp, &TimeZone), language: Language) -> String {
    let day = |after: i64| {
        let days = SignedDuration::from_hours(24 * after.clamp(0, 400_000));
        let at = now.checked_add(days).unwrap_or(Timestamp::MAX);
        let form = match language {
            Language::Ja => "%Y年%m月%d日",
            Language::En => "%Y-%m-%d",
        };
        at.to_zoned_datetime(zone.clone())
            .strftime(form)
            .to_string()
    };
    let Some(facts) = facts else {
        return match language {
            Language::Ja => "古いバックアップがあれば、そこにはまだ残っています。いつまで残るかは、バックアップの記録が見つからないので、わたしには分かりません。持ち主に聞いてください。",
            Language::En => "Old backups, if there are any, still hold them. Until when I cannot tell, since I find no report about backups: please ask the owner.",
        }
        .to_owned();
    };
    let mut said = Vec::new();
    let is_old = facts
        .at
        .parse::<Timestamp>()
        .map_or(true, |at| now.duration_since(at) > FRESH);
    let is_kept = facts.frozen || !facts.scheduled || is_old;
    said.push(match (is_kept, language) {
        (false, Language::Ja) => format!(
            "古いバックアップには、遅くとも {} まで残ります。新しいバックアップが作られないあいだは、最後の {} 個は消えません。",
            day(facts.days),
            facts.floor
        ),
        (false, Language::En) => format!(
            "Old backups hold them until {} at the latest. While no new backups are made, the last {} stay.",
            day(facts.days),
            facts.floor
        ),
        (true, Language::Ja) => format!(
            "古いバックアップには、まだ残っています。いまは古いものが自動で消えない状態なので、期限は言えません (ふつうは {} 日です)。持ち主に聞いてください。",
            facts.days
        ),
        (true, Language::En) => format!(
            "Old backups still hold them. Old ones are not deleted by themselves at the moment, so I cannot name a date (usually {} days): please ask the owner.",
            facts.days
        ),
    });
    if let Some(days) = facts.remote_days {
        // Whatever keeps the old ones here keeps their copies too.
        let until = (!is_kept).then(|| day(days));
        said.push(copies(until.as_deref(), language));
    }
    said.push(
        match language {
            Language::Ja => {
                "持ち主がほかの方法で作った写し (NAS のスナップショットなど) のことは、わたしには分かりません。"
            }
            Language::En => {
                "Of copies that the owner makes in other ways (such as snapshots of the NAS) I know nothing."
            }
        }
        .to_owned(),
    );
    said.join("\n")
}

/// What copies off-site hold, and until which day, when that can be said.
fn copies(until: Option<&str>, language: Language) -> String {
    match (until, language) {
        (Some(day), Language::Ja) => {
            format!("別の場所への写しには、遅くとも {day} まで残ります (写しが続いているあいだ)。")
        }
        (Some(day), Language::En) => format!(
            "Copies in another place hold them until {day} at the latest (while copying goes on)."
        ),
        (None, Language::Ja) => {
            "別の場所への写しにも残っています。その期限も、いまは言えません。".to_owned()
        }
        (None, Language::En) => {
            "Copies in another place hold them too; for those I cannot name a date either."
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(json: &str) -> Facts {
        serde_json::from_str(json).unwrap()
    }

    fn said(facts: Option<&Facts>) -> String {
        let now: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        words(facts, (now, &TimeZone::UTC), Language::En)
    }

    #[test]
    fn dates_are_said_only_when_they_hold() {
        let usual = r#"{"v":1,"at":"2026-11-28T02:00:00Z","days":8,"floor":3,"scheduled":true,"frozen":false,"remote_days":null}"#;
        let text = said(Some(&facts(usual)));
        assert!(
            text.contains("until 2026-12-06") && text.contains("last 3"),
            "{text}"
        );
        assert!(!text.contains("Copies in another place"));
        let remote = usual.replace("null", "31");
        let text = said(Some(&facts(&remote)));
        assert!(text.contains("until 2026-12-29"), "{text}");
        for kept in [
            usual.replace("\"frozen\":false", "\"frozen\":true"),
            usual.replace("\"scheduled\":true", "\"scheduled\":false"),
            usual.replace("11-28T02", "11-20T02"),
        ] {
            let text = said(Some(&facts(&kept)));
            assert!(text.contains("cannot name a date"), "{text}");
            assert!(!text.contains("2026-12"), "{text}");
            let copied = said(Some(&facts(&kept.replace("null", "31"))));
            assert!(copied.contains("Copies in another place"), "{copied}");
            assert!(!copied.contains("2026-12"), "{copied}");
        }
        assert!(said(None).contains("I cannot tell"));
    }

    #[test]
    fn only_a_small_whole_file_is_believed() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read(home.path()), None);
        std::fs::write(home.path().join(FILE), "{\"at\":1}").unwrap();
        assert_eq!(read(home.path()), None);
    }
}
