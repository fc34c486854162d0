//! This room turns the books into what the page shows; the same as `status.json`, for scripts. Pure.

use daemon_kit::Text;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Archive, Book, Day, Hour, Month, Seen, Trouble, local, percentile};

/// What the books cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Free bytes on the disk of `logs/`.
    pub free_bytes: Option<u64>,
    /// Free bytes the owner wants.
    pub wanted_bytes: u64,
    /// Bytes that the logs take, and may take.
    pub logs: (u64, u64),
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Nothing is known yet.
    Unknown,
    /// Worth a look.
    Warning,
    /// Needs a hand.
    Bad,
}

/// One of the cards above the fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// How it stands.
    pub verdict: Verdict,
    /// The sentence, in Japanese and English.
    #[serde(serialize_with = "both")]
    pub says: Text,
    /// What to do; nothing when all is well.
    #[serde(serialize_with = "maybe_both")]
    pub todo: Option<Text>,
}

fn both<S: serde::Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    [("ja", &text.ja), ("en", &text.en)]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>()
        .serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn maybe_both<S: serde::Serializer>(text: &Option<Text>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => both(text, serializer),
        None => serializer.serialize_none(),
    }
}

/// Everything the page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this shape.
    pub v: u32,
    /// When it was made, in milliseconds since 1970.
    pub written: i64,
    /// Does the bot answer?
    pub bot: Card,
    /// Is there a backup?
    pub backup: Card,
    /// Is there room?
    pub disk: Card,
    /// The last answer.
    pub last_answer: Option<i64>,
    /// The last 24 hours, oldest first: hour since 1970, and what happened.
    pub hours: Vec<(i64, Hour)>,
    /// The last 35 days, oldest first.
    pub days: Vec<(String, Day)>,
    /// Answer time over the last seven days, in milliseconds: median, and what 95 of 100 stay below.
    pub answer_ms: (Option<u64>, Option<u64>),
    /// This month.
    pub month: Month,
    /// US dollars a month; 0 = no limit.
    pub budget: Option<f64>,
    /// The newest verified archive.
    pub archive: Option<Archive>,
    /// Sizes of archives, oldest first.
    pub sizes: Vec<(i64, u64)>,
    /// The last drill, and whether it passed.
    pub drill: Option<(i64, bool)>,
    /// The programs.
    pub services: Vec<(String, Seen)>,
    /// Errors by kind, the latest first.
    pub troubles: Vec<Trouble>,
    /// Free bytes, and bytes of the logs and their limit.
    pub space: (Option<u64>, u64, u64),
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Every program writes a line an hour.
const SILENT: i64 = 2 * HOUR;
const SHOWN_DAYS: usize = 35;
const SHOWN_TROUBLES: usize = 12;

/// Makes the report. `backup_every` = milliseconds between backups, as the schedule has it.
#[must_use]
pub fn report(book: &Book, around: &Surroundings, backup_every: i64, zone: &TimeZone) -> Report {
    let now = around.now;
    let hour = now.div_euclid(HOUR);
    let hours =
        (hour - 23..=hour).map(|hour| (hour, book.hours.get(&hour).cloned().unwrap_or_default()));
    let days: Vec<(String, Day)> = dates(now, zone)
        .into_iter()
        .map(|date| {
            (
                date.clone(),
                book.days.get(&date).cloned().unwrap_or_default(),
            )
        })
        .collect();
    let mut times = Vec::new();
    for (_, day) in days.iter().rev().take(7) {
        times.resize(times.len().max(day.times.len()), 0);
        for (sum, count) in times.iter_mut().zip(&day.times) {
            *sum += count;
        }
    }
    let mut troubles: Vec<Trouble> = book.troubles.values().cloned().collect();
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.last));
    troubles.truncate(SHOWN_TROUBLES);
    let month = local(now, zone);
    Report {
        v: 1,
        written: now,
        bot: bot(book, now),
        backup: backup(book, now, backup_every),
        disk: disk(around),
        last_answer: book.last_answer,
        hours: hours.collect(),
        days,
        answer_ms: (percentile(&times, 50), percentile(&times, 95)),
        month: month
            .get(..7)
            .and_then(|month| book.months.get(month))
            .cloned()
            .unwrap_or_default(),
        budget: book.budget,
        archive: book.archive.clone(),
        sizes: book.sizes.iter().copied().collect(),
        drill: book.drill,
        services: book
            .services
            .iter()
            .map(|(name, seen)| (name.clone(), seen.clone()))
            .collect(),
        troubles,
        space: (around.free_bytes, around.logs.0, around.logs.1),
    }
}

/// The days that are shown, oldest first: dates, not steps of 24 hours, for where clocks change.
fn dates(now: i64, zone: &TimeZone) -> Vec<String> {
    let today = Timestamp::from_millisecond(now)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned_datetime(zone.clone())
        .date();
    let mut dates: Vec<String> = std::iter::successors(Some(today), |date| date.yesterday().ok())
        .take(SHOWN_DAYS)
        .map(|date| date.to_string())
        .collect();
    dates.reverse();
    dates
}

fn card(verdict: Verdict, says: Text, todo: Option<Text>) -> Card {
    Card {
        verdict,
        says,
        todo,
    }
}

fn bot(book: &Book, now: i64) -> Card {
    let look = Text::new(
        "NAS のコンテナ画面で kotonoha-bot が動いているか確かめ、止まっていれば再起動してください",
        "See in the NAS's container screen whether kotonoha-bot runs, and restart it if it does not",
    );
    let Some(seen) = book.services.get("bot") else {
        return card(
            Verdict::Unknown,
            Text::new("まだ記録がありません", "Nothing is known yet"),
            None,
        );
    };
    if seen.stopped {
        return card(
            Verdict::Bad,
            Text::new("止まっています", "It is stopped"),
            Some(look),
        );
    }
    if now - seen.last > SILENT {
        return card(
            Verdict::Bad,
            Text::new(
                "2 時間以上、記録がありません",
                "It has not logged for two hours",
            ),
            Some(look),
        );
    }
    if seen.unwell.is_some() {
        let read = Text::new(
            "logs/doctor-bot.txt を読んでください",
            "Read logs/doctor-bot.txt",
        );
        return card(
            Verdict::Bad,
            Text::new("調子が悪いようです", "It is unwell"),
            Some(read),
        );
    }
    match book.connected {
        // A connection that stays away makes the bot say that it is unwell; one that comes back says nothing.
        Some((false, since)) if now - since < 5 * MINUTE => card(
            Verdict::Warning,
            Text::new("再接続しています", "It is reconnecting"),
            None,
        ),
        _ => card(
            Verdict::Good,
            Text::new("応答しています", "It is answering"),
            None,
        ),
    }
}

fn backup(book: &Book, now: i64, every: i64) -> Card {
    let make = Text::new(
        "今すぐ取るには、backups/ に backup-now という名前のフォルダを作ってください",
        "To make one now, create a folder named backup-now in backups/",
    );
    let Some(archive) = &book.archive else {
        if book.failed_backup.is_some() {
            return card(
                Verdict::Bad,
                Text::new("バックアップに失敗しました", "The backup failed"),
                Some(make),
            );
        }
        return card(
            Verdict::Unknown,
            Text::new("まだありません", "There is none yet"),
            Some(make),
        );
    };
    if book.drill.is_some_and(|(_, passed)| !passed) {
        let check = Text::new(
            "backup-sidecar verify を実行してください",
            "Run backup-sidecar verify",
        );
        return card(
            Verdict::Bad,
            Text::new("復元の練習に失敗しました", "The restore drill failed"),
            Some(check),
        );
    }
    if book.failed_backup.is_some() {
        return card(
            Verdict::Bad,
            Text::new("最後のバックアップに失敗しました", "The last backup failed"),
            Some(make),
        );
    }
    if now - archive.at > every + every / 10 + 2 * HOUR {
        return card(
            Verdict::Bad,
            Text::new(
                "予定のバックアップがありません",
                "The planned backup is missing",
            ),
            Some(make),
        );
    }
    if book.frozen {
        let accept = Text::new(
            "データが急に減りました。意図したものなら backups/ に accept-backup_… というフォルダを作ってください",
            "The data shrank suddenly. If you meant it, create a folder accept-backup_… in backups/",
        );
        return card(
            Verdict::Warning,
            Text::new("削除を止めています", "Deletion is frozen"),
            Some(accept),
        );
    }
    card(
        Verdict::Good,
        Text::new(
            "検証済みのバックアップがあります",
            "There is a verified backup",
        ),
        None,
    )
}

fn disk(around: &Surroundings) -> Card {
    let Some(free) = around.free_bytes else {
        return card(
            Verdict::Unknown,
            Text::new("空き容量が分かりません", "The free space is not known"),
            None,
        );
    };
    if free >= around.wanted_bytes {
        return card(
            Verdict::Good,
            Text::new("空きがあります", "There is room"),
            None,
        );
    }
    let make_room = Text::new(
        "NAS の不要なファイルを減らしてください",
        "Remove files from the NAS that you do not need",
    );
    let verdict = if free < around.wanted_bytes / 4 {
        Verdict::Bad
    } else {
        Verdict::Warning
    };
    card(
        verdict,
        Text::new("空きが少なくなっています", "Room is getting scarce"),
        Some(make_room),
    )
}
