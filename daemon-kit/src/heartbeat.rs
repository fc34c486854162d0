//! This room shows that a program is well: the loop that does the work writes a beat, `healthcheck` judges it.
//!
//! The beat lies in the temporary directory (a tmpfs in a container), never in a shared volume. Its age is taken from
//! the boot clock, so that a jump of the wall clock makes nobody ill.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A beat older than this is a stuck loop.
pub const MAX_AGE: Duration = Duration::from_secs(90);

/// How often the loop that does the work beats. One that goes round faster writes no more for it: that would be most of
/// what an idle program does.
pub const INTERVAL: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Beat {
    /// Seconds since the machine started.
    uptime_secs: u64,
    /// Why the program is not well; absent when it is.
    unhealthy: Option<String>,
}

/// Writes the beats of one program.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    path: PathBuf,
    /// What stands in the file.
    written: Arc<Mutex<Option<Beat>>>,
}

impl Heartbeat {
    /// The heartbeat of `service`, in the temporary directory.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self::at(std::env::temp_dir().join(format!("{service}.heartbeat")))
    }

    fn at(path: PathBuf) -> Self {
        Self {
            path,
            written: Arc::default(),
        }
    }

    /// Says: the work goes on and all is well.
    pub fn beat(&self) {
        self.write(None);
    }

    /// Says: the work goes on, but something is wrong. `reason` is one line that the owner reads.
    pub fn unhealthy(&self, reason: &str) {
        self.write(Some(reason.to_owned()));
    }

    /// Judges the newest beat: a sentence in either case, `Err` when unhealthy.
    ///
    /// # Errors
    /// When there is no beat, it is too old, or it says that something is wrong.
    pub fn judge(&self) -> Result<String, String> {
        judge_at(&self.path, uptime_secs())
    }

    fn write(&self, unhealthy: Option<String>) {
        let beat = Beat {
            uptime_secs: uptime_secs(),
            unhealthy,
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref().is_some_and(|last| last.says_enough(&beat)) {
            return;
        }
        let text = serde_json::to_string(&beat).unwrap_or_default();
        // A rename, so that a reader never sees half a beat; no sync, since it need not outlive the machine.
        let partial = self.path.with_extension("heartbeat.partial");
        match fs::write(&partial, text).and_then(|()| move_over(&partial, &self.path)) {
            Ok(()) => *written = Some(beat),
            Err(error) => {
                tracing::warn!(event = "heartbeat.failed", path = %self.path.display(), %error, "the heartbeat could not be written");
            }
        }
    }
}

impl Beat {
    /// Whether `next` is no news and this one still young.
    fn says_enough(&self, next: &Beat) -> bool {
        let age_secs = next.uptime_secs.saturating_sub(self.uptime_secs);
        self.unhealthy == next.unhealthy && age_secs < INTERVAL.as_secs()
    }
}

#[expect(clippy::disallowed_methods, reason = "a beat on a tmpfs needs no sync")]
fn move_over(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::rename(from, to)
}

fn judge_at(path: &Path, now_secs: u64) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("unhealthy: no heartbeat at {} ({error})", path.display()))?;
    let beat: Beat = serde_json::from_str(&text).map_err(|error| {
        format!(
            "unhealthy: the heartbeat at {} is not readable ({error})",
            path.display()
        )
    })?;
    let age = now_secs.saturating_sub(beat.uptime_secs);
    if let Some(reason) = beat.unhealthy {
        return Err(format!("unhealthy: {reason}"));
    }
    if age > MAX_AGE.as_secs() {
        return Err(format!(
            "unhealthy: no heartbeat for {age} s, the work is stuck"
        ));
    }
    Ok(format!("healthy: last heartbeat {age} s ago"))
}

fn uptime_secs() -> u64 {
    clock_gettime(ClockId::Boottime)
        .tv_sec
        .try_into()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_ages_and_speaks() {
        let dir = tempfile::tempdir().unwrap();
        let heartbeat = Heartbeat::at(dir.path().join("bot.heartbeat"));
        assert!(heartbeat.judge().unwrap_err().contains("no heartbeat at"));
        heartbeat.beat();
        assert!(heartbeat.judge().is_ok());
        let later = uptime_secs() + MAX_AGE.as_secs() + 1;
        assert!(
            judge_at(&heartbeat.path, later)
                .unwrap_err()
                .contains("stuck")
        );
        heartbeat.unhealthy("no connection to Discord");
        assert_eq!(
            heartbeat.judge().unwrap_err(),
            "unhealthy: no connection to Discord"
        );
        fs::write(&heartbeat.path, "{").unwrap();
        assert!(heartbeat.judge().unwrap_err().contains("not readable"));
    }

    #[test]
    fn a_beat_that_is_no_news_is_written_when_the_last_one_has_aged() {
        let dir = tempfile::tempdir().unwrap();
        let heartbeat = Heartbeat::at(dir.path().join("bot.heartbeat"));
        heartbeat.beat();
        fs::remove_file(&heartbeat.path).unwrap();
        heartbeat.beat();
        assert!(!heartbeat.path.exists(), "no news");
        heartbeat.unhealthy("no connection to Discord");
        assert!(heartbeat.judge().is_err(), "news is told at once");
        heartbeat.beat();
        assert!(heartbeat.judge().is_ok(), "so is its end");
        fs::remove_file(&heartbeat.path).unwrap();
        if let Some(last) = heartbeat.written.lock().unwrap().as_mut() {
            last.uptime_secs -= INTERVAL.as_secs();
        }
        heartbeat.beat();
        assert!(heartbeat.path.exists(), "old");
    }
}
