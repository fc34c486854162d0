//! This room waits for a reason to look. An event is only a hint; so is a changed directory; so is the clock.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use daemon_kit::{Shutdown, doctor};
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::segment::{self, DirStamp};

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A closed segment appeared, said the kernel.
    Event,
    /// The directory changed, said its own time stamp.
    Directory,
    /// Nothing was said; a moment passed (see [`LOOK_EVERY`] and [`LOOK_SELDOM`]).
    Moment,
    /// The program is to end.
    Shutdown,
}

/// How often the directory is looked at where events are silent.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked at where the kernel tells of every change: each look costs a tenth of a millisecond and more,
/// most of it for waking. Of what other machines write to a shared file system no kernel tells: there it is never trusted.
pub const LOOK_SELDOM: Duration = Duration::from_secs(5);

/// The sleeper.
pub struct Waker {
    dir: PathBuf,
    hints: Receiver<()>,
    shutdown: Shutdown,
    seen: Option<DirStamp>,
    /// Whether the kernel has told of anything in the directory since the last look.
    told: Arc<AtomicBool>,
    /// Whether the last change that was seen had been told of. On some mounts the kernel accepts a watch and stays silent.
    is_told: bool,
    /// Whether nobody but this kernel can change the directory.
    is_local: bool,
    _watcher: Option<RecommendedWatcher>,
}

impl Waker {
    /// Begins to listen. Where the kernel offers no events, looking at the directory is enough.
    #[must_use]
    pub fn new(dir: &Path, shutdown: &Shutdown) -> Waker {
        let (sender, hints) = sync_channel(1);
        let for_shutdown = sender.clone();
        // A full channel means that a wake-up is on its way already.
        shutdown.on_soft(move || {
            for_shutdown.try_send(()).ok();
        });
        let told = Arc::new(AtomicBool::new(false));
        let watcher = match watch(dir, sender, Arc::clone(&told)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(event = "wake.polling", error = %error, "no events from the kernel here; the directory is looked at every 2 seconds");
                None
            }
        };
        Waker {
            dir: dir.to_owned(),
            hints,
            shutdown: shutdown.clone(),
            seen: DirStamp::of(dir),
            told,
            is_told: false,
            is_local: doctor::file_system(dir, "logs", true).is_none(),
            _watcher: watcher,
        }
    }

    /// Sleeps until there is a reason to look, a moment at most.
    pub fn wait(&mut self) -> Reason {
        let moment = if self.is_told {
            LOOK_SELDOM
        } else {
            LOOK_EVERY
        };
        let hint = match self.hints.recv_timeout(moment) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            // The watcher is gone: sleep all the same, never spin.
            Err(RecvTimeoutError::Disconnected) => self.shutdown.wait(moment),
        };
        if self.shutdown.is_soft() {
            return Reason::Shutdown;
        }
        let now = DirStamp::of(&self.dir);
        let before = std::mem::replace(&mut self.seen, now);
        let changed = before != now;
        let is_same = |(before, now): (DirStamp, DirStamp)| before.says_the_same_as(now);
        if !before.zip(now).is_some_and(is_same) {
            self.is_told = self.told.swap(false, Ordering::Relaxed) && self.is_local;
        }
        if hint {
            Reason::Event
        } else if changed {
            Reason::Directory
        } else {
            Reason::Moment
        }
    }
}

fn watch(
    dir: &Path,
    sender: SyncSender<()>,
    told: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.as_ref().is_ok_and(changes_names) {
            told.store(true, Ordering::Relaxed);
        }
        if event.as_ref().map_or(true, is_hint) {
            sender.try_send(()).ok();
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// What changes the directory's own time.
fn changes_names(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Only names that appear count: this version of `notify` also wakes on every read, ours and the backup's.
fn is_hint(event: &Event) -> bool {
    if event.need_rescan() {
        return true;
    }
    let appeared = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    let ours = |path: &PathBuf| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(is_raw_closed_name)
    };
    appeared && event.paths.iter().any(ours)
}

/// Compressed names are our own doing.
fn is_raw_closed_name(name: &str) -> bool {
    segment::is_closed_name(name) && !name.ends_with(".zst")
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, AccessMode, CreateKind, RenameMode};

    #[test]
    fn only_new_segments_are_hints() {
        let event = |kind, name: &str| Event::new(kind).add_path(PathBuf::from("/logs").join(name));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert!(is_hint(&event(renamed, "bot.20260301T000000.000Z.log")));
        assert!(is_hint(&event(
            EventKind::Create(CreateKind::File),
            "bot.20260301T000000.000Z.log"
        )));
        assert!(!is_hint(&event(
            renamed,
            "bot.20260301T000000.000Z.log.zst"
        )));
        assert!(!is_hint(&event(renamed, "status.html")));
        assert!(!is_hint(&event(
            EventKind::Access(AccessKind::Open(AccessMode::Read)),
            "bot.20260301T000000.000Z.log"
        )));
        assert!(is_hint(
            &Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)
        ));
    }

    #[test]
    fn a_new_segment_wakes() {
        let dir = tempfile::tempdir().unwrap();
        let mut waker = Waker::new(dir.path(), &Shutdown::new());
        std::fs::write(dir.path().join("bot.20260301T000000.000Z.log"), "x\n").unwrap();
        assert!(matches!(waker.wait(), Reason::Event | Reason::Directory));
    }

    #[test]
    fn where_the_kernel_tells_of_every_change_it_is_looked_at_more_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let mut waker = Waker::new(dir.path(), &Shutdown::new());
        assert!(!waker.is_told, "nothing is known yet");
        let change = |number: u32| {
            let name = format!("bot.20260301T000000.{number:03}Z.log");
            std::fs::write(dir.path().join(name), "x\n").unwrap();
        };
        // More than one each, lest it was seen before it was told of, or bears the time of the one before.
        let mut changes = 0..300;
        let mut wait_until = |waker: &mut Waker, is_told: bool| {
            while waker.is_told != is_told {
                change(changes.next().expect("it never came"));
                waker.wait();
            }
        };
        wait_until(&mut waker, true);
        // A file system that others write too.
        waker.is_local = false;
        wait_until(&mut waker, false);
        waker.is_local = true;
        wait_until(&mut waker, true);
        // A mount on which the kernel stays silent.
        waker.told = Arc::default();
        wait_until(&mut waker, false);
    }

    #[test]
    fn shutdown_wakes() {
        let dir = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new();
        let mut waker = Waker::new(dir.path(), &shutdown);
        shutdown.begin();
        assert_eq!(waker.wait(), Reason::Shutdown);
    }
}
