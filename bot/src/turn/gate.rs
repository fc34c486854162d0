//! How many turns run at once: many live ones, few of those that make up for an absence.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Turns that may run at once, whatever the conversations.
const AT_ONCE: usize = 256;
/// Of those taken up after an absence: each asks Discord several things, and whoever asks now goes first.
const TAKEN_UP_AT_ONCE: usize = 8;

/// The gate of all turns.
#[derive(Debug)]
pub struct Gate {
    all: Semaphore,
    taken_up: Semaphore,
}

/// A place within; given back when dropped.
pub(super) struct Within<'a> {
    _all: SemaphorePermit<'a>,
    _taken_up: Option<SemaphorePermit<'a>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            all: Semaphore::new(AT_ONCE),
            taken_up: Semaphore::new(TAKEN_UP_AT_ONCE),
        }
    }
}

impl Gate {
    /// Waits for a place; none when the gate was closed.
    pub(super) async fn enter(&self, is_taken_up: bool) -> Option<Within<'_>> {
        let taken_up = if is_taken_up {
            Some(self.taken_up.acquire().await.ok()?)
        } else {
            None
        };
        Some(Within {
            _all: self.all.acquire().await.ok()?,
            _taken_up: taken_up,
        })
    }

    /// Nobody enters any more; who is within stays.
    pub fn close(&self) {
        self.taken_up.close();
        self.all.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_made_up_for_never_keeps_a_live_turn_waiting() {
        let gate = Gate::default();
        let mut within = Vec::new();
        for _ in 0..TAKEN_UP_AT_ONCE {
            within.push(gate.enter(true).await.unwrap());
        }
        let waiting = gate.enter(true);
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("one too many was let in"),
            () = tokio::task::yield_now() => {}
        }
        assert!(gate.enter(false).await.is_some());
        gate.close();
        assert!(waiting.await.is_none());
        assert!(gate.enter(false).await.is_none());
    }
}
