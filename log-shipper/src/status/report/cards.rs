//! This room judges: one card for each question an owner has, in plain words, with the exact step where one is needed.
//! Pure.

use daemon_kit::Text;

use super::super::{Book, Month};
use super::{Card, Surroundings, Verdict};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Every program writes a line an hour.
const SILENT: i64 = 2 * HOUR;

fn card(verdict: Verdict, says: Text, todo: Option<Text>) -> Card {
    Card {
        verdict,
        says,
        todo,
    }
}

pub(super) fn bot(book: &Book, now: i64) -> Card {
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

pub(super) fn backup(book: &Book, now: i64, every: i64) -> Card {
    let make = Text::new(
        "今すぐ取るには、backups/ に backup-now という名前のフォルダを作ってください",
        "To make one now, create a folder named backup-now in backups/",
    );
    if let Some(trouble) = sidecar(book, now) {
        return trouble;
    }
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

pub(super) fn disk(around: &Surroundings) -> Card {
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

/// The program that makes the backups is away or unwell: no archive of last night makes up for it.
fn sidecar(book: &Book, now: i64) -> Option<Card> {
    let seen = book.services.get("backup-sidecar")?;
    let look = Text::new(
        "NAS のコンテナ画面で kotonoha-backup-sidecar が動いているか確かめ、止まっていれば再起動してください",
        "See in the NAS's container screen whether kotonoha-backup-sidecar runs, and restart it if it does not",
    );
    if seen.stopped || now - seen.last > SILENT {
        let says = Text::new(
            "バックアップ係が止まっています",
            "The backup program is stopped",
        );
        return Some(card(Verdict::Bad, says, Some(look)));
    }
    seen.unwell?;
    Some(card(
        Verdict::Bad,
        Text::new(
            "バックアップ係の調子が悪いようです",
            "The backup program is unwell",
        ),
        Some(Text::new(
            "logs/doctor-backup-sidecar.txt を読んでください",
            "Read logs/doctor-backup-sidecar.txt",
        )),
    ))
}

/// The month's money against the budget; without a budget there is nothing to judge.
pub(super) fn money(month: &Month, budget: Option<f64>) -> Card {
    let Some(budget) = budget.filter(|budget| *budget > 0.0) else {
        return card(
            Verdict::Good,
            Text::new("上限はありません", "There is no limit"),
            None,
        );
    };
    if month.cost < budget * 0.8 {
        return card(
            Verdict::Good,
            Text::new("予算の内です", "Within the budget"),
            None,
        );
    }
    let more = Text::new(
        "増やすなら .env の MONTHLY_BUDGET を書きかえて docker compose up -d を実行してください。来月 1 日には元に戻ります",
        "To allow more, raise MONTHLY_BUDGET in .env and run docker compose up -d. It begins anew on the 1st",
    );
    if month.cost < budget {
        return card(
            Verdict::Warning,
            Text::new(
                "予算の 8 割を使いました",
                "Four fifths of the budget are spent",
            ),
            Some(more),
        );
    }
    card(
        Verdict::Bad,
        Text::new("今月の予算を使い切りました", "This month's budget is spent"),
        Some(more),
    )
}
