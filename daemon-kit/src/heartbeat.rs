//! This room shows that a program is well: the loop that does the work writes a beat, `healthcheck` judges it.
//!
//! The beat lies in the temporary directory (a tmpfs in a container), never in a shared volume. Its age is taken from
//! the boot clock, so that a jump of the wall clock makes nobody ill.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A beat older than this is a stuck loop.
pub const MAX_AGE: Duration = Duration::from_secs(90);

/// How often the loop that does the work beats.
pub const INTERVAL: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
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
}

impl Heartbeat {
    /// The heartbeat of `service`, in the temporary directory.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            path: std::env::temp_dir().join(format!("{service}.heartbeat")),
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
        let text = serde_json::to_string(&beat).unwrap_or_default();
        // A rename, so that a reader never sees half a beat; no sync, since it need not outlive the machine.
        let partial = self.path.with_extension("heartbeat.partial");
        let written = fs::write(&partial, text).and_then(|()| move_over(&partial, &self.path));
        if let Err(error) = written {
            tracing::warn!(event = "heartbeat.failed", path = %self.path.display(), %error, "the heartbeat could not be written");
        }
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
        let heartbeat = Heartbeat {
            path: dir.path().join("bot.heartbeat"),
        };
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
}
