//! This room carries the wish to stop: soft (finish what is begun) → grace → hard (leave everything consistent, now).

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Soft,
    Hard,
}

type Hook = Box<dyn FnOnce() + Send>;

struct Inner {
    stage: Stage,
    on_soft: Vec<Hook>,
    on_hard: Vec<Hook>,
}

/// A token that every loop of a program holds a clone of.
///
/// A lock and a condition variable, not a channel: residents without an async runtime wait on it too, and the state is
/// a single word that only ever grows.
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<(Mutex<Inner>, Condvar)>,
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("soft", &self.is_soft())
            .field("hard", &self.is_hard())
            .finish()
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that nobody has pulled yet.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            stage: Stage::Running,
            on_soft: Vec::new(),
            on_hard: Vec::new(),
        };
        Self {
            shared: Arc::new((Mutex::new(inner), Condvar::new())),
        }
    }

    /// Whether to finish what is begun and begin nothing new.
    #[must_use]
    pub fn is_soft(&self) -> bool {
        self.inner().stage >= Stage::Soft
    }

    /// Whether to leave at once.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        self.inner().stage >= Stage::Hard
    }

    /// Asks everyone to drain.
    pub fn begin(&self) {
        self.advance(Stage::Soft);
    }

    /// Asks everyone to leave at once.
    pub fn force(&self) {
        self.advance(Stage::Hard);
    }

    /// Waits until draining is asked for, at most `patience`; tells whether it was.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        self.wait_for(Stage::Soft, patience)
    }

    /// Waits until leaving at once is asked for, at most `patience`; tells whether it was.
    #[must_use]
    pub fn wait_hard(&self, patience: Duration) -> bool {
        self.wait_for(Stage::Hard, patience)
    }

    /// Runs `hook` once when draining begins; at once when it has begun already. It must not block.
    pub fn on_soft(&self, hook: impl FnOnce() + Send + 'static) {
        self.hook(Stage::Soft, Box::new(hook));
    }

    /// Runs `hook` once when leaving at once is asked for; at once when it was already. It must not block.
    pub fn on_hard(&self, hook: impl FnOnce() + Send + 'static) {
        self.hook(Stage::Hard, Box::new(hook));
    }

    fn hook(&self, stage: Stage, hook: Hook) {
        let mut inner = self.inner();
        if inner.stage >= stage {
            drop(inner);
            hook();
        } else if stage == Stage::Soft {
            inner.on_soft.push(hook);
        } else {
            inner.on_hard.push(hook);
        }
    }

    fn advance(&self, stage: Stage) {
        let mut inner = self.inner();
        inner.stage = inner.stage.max(stage);
        let mut hooks = std::mem::take(&mut inner.on_soft);
        if stage == Stage::Hard {
            hooks.append(&mut inner.on_hard);
        }
        drop(inner);
        self.shared.1.notify_all();
        for hook in hooks {
            hook();
        }
    }

    fn wait_for(&self, stage: Stage, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut inner = self.inner();
        while inner.stage < stage {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (next, _) = self
                .shared
                .1
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner);
            inner = next;
        }
        true
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A hook that panics is not under the lock, so a poisoned state is still a whole one.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn it_only_ever_grows() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_soft() && !shutdown.wait(Duration::ZERO));
        shutdown.force();
        shutdown.begin();
        assert!(shutdown.is_soft() && shutdown.is_hard());
    }

    #[test]
    fn hooks_run_once_also_when_they_come_late() {
        let shutdown = Shutdown::new();
        let ran = Arc::new(AtomicU32::new(0));
        let count = |add| {
            let ran = Arc::clone(&ran);
            move || {
                ran.fetch_add(add, Ordering::SeqCst);
            }
        };
        shutdown.on_soft(count(1));
        shutdown.on_hard(count(10));
        shutdown.begin();
        shutdown.begin();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        shutdown.on_soft(count(100));
        assert_eq!(ran.load(Ordering::SeqCst), 101);
        shutdown.force();
        assert_eq!(ran.load(Ordering::SeqCst), 111);
    }

    #[test]
    fn a_waiting_thread_wakes() {
        let shutdown = Shutdown::new();
        let waiter = shutdown.clone();
        let thread = std::thread::spawn(move || waiter.wait(Duration::from_secs(60)));
        shutdown.begin();
        assert!(thread.join().unwrap());
    }
}
