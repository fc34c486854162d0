//! This room puts a `README.txt` beside the archives, for whoever opens the folder in a file manager.

use std::fs;
use std::path::Path;

use daemon_kit::publish;
use daemon_kit::text::Language;

const JA: &str = "\
ここにはボットのデータのバックアップがあります。

  backup_日付_時刻.tar.zst   バックアップ。復元できることを確認済みです。消したり名前を変えたりしないでください。
  ….tar.zst.age              暗号化されたバックアップ (age の秘密鍵が必要です)。
  ….damaged.tar.zst          壊れたデータベースの写し。復元には使われません。
  catalog.json               確認結果の記録。
  ….partial                  作成中のファイル。触らないでください。

端末を使わずに頼むには、ここに次の名前の空のフォルダを作ってください (1 分ほどで始まります):

  backup-now                       今すぐバックアップ
  restore-latest                   最新のものを復元 (先にボットを止めてください)
  restore-backup_20261128_020000   その日時のものを復元
  extract-backup_20261128_020000   ふつうのフォルダとして取り出す (7 日後に消えます)
  accept-backup_20261128_020000    大きく減ったことを承認し、古いものの整理を再開する

終わるとフォルダは done-… か failed-… という名前になり、中の report.txt に結果が書かれます。
";

const EN: &str = "\
These are the backups of the bot's data.

  backup_DATE_TIME.tar.zst   A backup, verified to be restorable. Do not delete or rename it.
  ….tar.zst.age              An encrypted backup (needs your age identity).
  ….damaged.tar.zst          A copy of a damaged database; never used for a restore.
  catalog.json               What was proved about each of them.
  ….partial                  Being written; leave it alone.

To ask without a terminal, make an empty folder here with one of these names (it begins within a minute):

  backup-now                       back up now
  restore-latest                   restore the newest (stop the bot first)
  restore-backup_20261128_020000   restore that one
  extract-backup_20261128_020000   lay it out as a plain folder (goes after 7 days)
  accept-backup_20261128_020000    accept a great loss, so that old backups are removed again

Afterwards the folder is called done-… or failed-…, and report.txt in it says what happened.
";

/// Writes the text when it is not there as it should be. A failure is no reason not to back up.
pub(super) fn write(dir: &Path, language: Language) {
    let text = match language {
        Language::Ja => JA,
        Language::En => EN,
    };
    let path = dir.join("README.txt");
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return;
    }
    if let Err(error) = publish::write(&path, text.as_bytes(), 0o666) {
        tracing::warn!(event = "readme.failed", %error, "README.txt could not be written");
    }
}
