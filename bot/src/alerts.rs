//! Delivers what the log shipper leaves in `logs/alerts/`: a sidecar without network reaches the owner this way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_kit::publish;
use daemon_kit::text::Language;
use serde::Deserialize;
use tokio::time::interval;

use crate::owner::Messenger;

const LOOK_EVERY: Duration = Duration::from_secs(20);
/// More than this is not from the log shipper.
const LARGEST: u64 = 64 << 10;
/// At one look; the rest waits for the next.
const MOST_AT_ONCE: usize = 10;

/// One alert, as far as we read it.
#[derive(Debug, Deserialize)]
struct Alert {
    id: String,
    ja: String,
    en: String,
}

/// Delivers until dropped.
pub async fn deliver(dir: PathBuf, language: Language, mut messenger: Messenger) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        for path in waiting(&dir) {
            let Some(alert) = read(&path) else {
                set(&path, "unreadable");
                continue;
            };
            let text = match language {
                Language::Ja => &alert.ja,
                Language::En => &alert.en,
            };
            if !messenger.deliver(text, &alert.id).await {
                tracing::info!(event = "alert.waits", "an alert could not be delivered yet");
                break;
            }
            set(&path, "delivered");
            tracing::info!(event = "alert.delivered", "an alert reached the owner");
        }
    }
}

/// The oldest alerts: their names sort by time.
fn waiting(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = list
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths.truncate(MOST_AT_ONCE);
    paths
}

fn read(path: &Path) -> Option<Alert> {
    let size = std::fs::metadata(path).ok()?.len();
    if size > LARGEST {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Marks by renaming. A crash in between delivers twice rather than never; the nonce then keeps it single.
fn set(path: &Path, mark: &str) {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(mark);
    if let Err(error) = publish::rename(path, Path::new(&name)) {
        tracing::warn!(event = "alert.not_marked", error = %error, "an alert could not be marked; it may be delivered again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_come_first_and_marks_take_them_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2.json", "1.json", "3.json.delivered", "notes.txt"] {
            std::fs::write(
                folder.path().join(name),
                r#"{"v":1,"id":"1","ja":"あ","en":"a","more":0}"#,
            )
            .unwrap();
        }
        let found = waiting(folder.path());
        assert_eq!(
            found,
            vec![folder.path().join("1.json"), folder.path().join("2.json")]
        );
        assert_eq!(read(&found[0]).unwrap().en, "a");
        set(&found[0], "delivered");
        assert_eq!(waiting(folder.path()).len(), 1);
        assert!(folder.path().join("1.json.delivered").exists());
    }
}
