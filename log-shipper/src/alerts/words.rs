//! This room holds what alerts say, in both languages: what happened, and the next step.

use daemon_kit::Text;

/// Events with words of their own: name, Japanese, English. They are told whatever their level.
const KNOWN: [(&str, &str, &str); 9] = [
    (
        "backup.failed",
        "バックアップに失敗しました。前のバックアップはそのまま残っています。`docker logs kotonoha-backup-sidecar` で理由を確かめてください。",
        "The backup failed. Earlier archives are untouched. See the reason with `docker logs kotonoha-backup-sidecar`.",
    ),
    (
        "drill.failed",
        "復元の練習に失敗しました。最新のバックアップから戻せないおそれがあります。`backup-sidecar verify` を実行してください。",
        "The restore drill failed: the newest archive may not restore. Run `backup-sidecar verify`.",
    ),
    (
        "verify.failed",
        "壊れているバックアップが見つかりました。`backup-sidecar list` で確かめてください。",
        "An archive is damaged. Look at `backup-sidecar list`.",
    ),
    (
        "database.damaged",
        "データベースに壊れた所があります。復元を考えてください (README の「復元」)。",
        "The database is damaged. Consider a restore (README, \"Restore\").",
    ),
    (
        "freeze.begun",
        "データが急に減ったため、古いバックアップの削除を止めました。意図したものなら backups/ に accept-backup_… というフォルダを作ってください。",
        "The data shrank suddenly, so no archive is deleted any more. If you meant it, make a folder accept-backup_… in backups/.",
    ),
    (
        "offsite.failed",
        "バックアップを遠隔地へ送れませんでした。次の回にまた試します。",
        "Archives could not be copied off-site. The next run tries again.",
    ),
    (
        "health.lost",
        "動作が止まっているようです。数分で戻らなければ、コンテナを再起動してください。",
        "It seems to be stuck. If it is not back in a few minutes, restart the container.",
    ),
    (
        "prune.unforwarded",
        "ログの送信先が長く止まっているため、未送信の古いログを削除しました。送信先を確かめてください。",
        "A sink has been away so long that old logs were deleted unsent. Check the sink.",
    ),
    (
        "forward.stalled",
        "ログの送信先が 1 時間応答していません。ログは保管され、戻りしだい送られます。",
        "A log sink has not answered for an hour. Lines are kept and sent when it is back.",
    ),
];

/// Whether an event is told whatever its level.
#[must_use]
pub fn is_always_told(event: &str) -> bool {
    KNOWN.iter().any(|(name, _, _)| *name == event)
}

/// Whether an event is about backups.
#[must_use]
pub fn is_backup(event: &str) -> bool {
    ["backup.", "drill.", "verify.", "offsite.", "freeze."]
        .iter()
        .any(|start| event.starts_with(start))
}

/// A grave event, for the first time.
#[must_use]
pub fn event(service: &str, event: &str) -> Text {
    if let Some((_, ja, en)) = KNOWN.iter().find(|(name, _, _)| *name == event) {
        return Text::new(format!("🔴 {service}: {ja}"), format!("🔴 {service}: {en}"));
    }
    Text::new(
        format!(
            "🔴 {service} でエラーが起きました: `{event}`。詳しくは `log-shipper search {event} --newest`。"
        ),
        format!(
            "🔴 An error in {service}: `{event}`. Details: `log-shipper search {event} --newest`."
        ),
    )
}

/// Repeated and held-back ones.
#[must_use]
pub fn digest(rows: &[(u64, String, String)]) -> Text {
    const ROWS: usize = 8;
    let mut list: Vec<String> = rows
        .iter()
        .take(ROWS)
        .map(|(count, service, event)| format!("\n• {count}× {service} `{event}`"))
        .collect();
    if rows.len() > ROWS {
        list.push(format!("\n• … +{}", rows.len() - ROWS));
    }
    let list = list.concat();
    let total: u64 = rows.iter().map(|(count, _, _)| count).sum();
    Text::new(
        format!("🔴 この 1 時間のエラーのまとめ ({total} 件):{list}"),
        format!("🔴 Errors of the past hour ({total}):{list}"),
    )
}

/// A service that says nothing.
#[must_use]
pub fn silent(service: &str) -> Text {
    Text::new(
        format!(
            "⚠️ {service} のログが 2 時間以上ありません。コンテナが動いているか確かめてください: `docker ps`"
        ),
        format!(
            "⚠️ {service} has not logged for two hours. See whether its container runs: `docker ps`"
        ),
    )
}

/// And one that came back.
#[must_use]
pub fn back(service: &str) -> Text {
    Text::new(
        format!("✅ {service} のログが戻りました。"),
        format!("✅ {service} logs again."),
    )
}

/// No backup for too long.
#[must_use]
pub fn no_backup(hours: i64) -> Text {
    Text::new(
        format!(
            "⚠️ {hours} 時間、新しいバックアップがありません。今すぐ取るには backups/ に backup-now というフォルダを作ってください。"
        ),
        format!(
            "⚠️ No new backup for {hours} hours. To make one now, create a folder named backup-now in backups/."
        ),
    )
}
