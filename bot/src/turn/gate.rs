//! How many turns run at once: many live ones, few of those that make up for an absence. And how much of pictures they
//! may hold together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Turns that may run at once, whatever the conversations.
const AT_ONCE: usize = 256;
/// Of those taken up after an absence: each asks Discord several things, and whoever asks now goes first.
const TAKEN_UP_AT_ONCE: usize = 8;
/// Bytes of pictures that all turns together may hold, as they arrive. In the prompt and in the request made of it they
/// are several times as much, and the whole program has 192 MiB.
const PICTURE_BYTES: usize = 24 << 20;

/// The gate of all turns.
#[derive(Debug)]
pub struct Gate {
    all: Semaphore,
    taken_up: Semaphore,
    pictures: Arc<Semaphore>,
}

/// Room for one picture; given back when dropped.
pub(super) type PictureRoom = OwnedSemaphorePermit;

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
            pictures: Arc::new(Semaphore::new(PICTURE_BYTES)),
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

    /// Waits for room for a picture of so many bytes; none when there is none by then.
    pub(super) async fn room(&self, bytes: u64, by: Instant) -> Option<PictureRoom> {
        let bytes = u32::try_from(bytes).ok()?;
        let room = Arc::clone(&self.pictures).acquire_many_owned(bytes);
        timeout_at(by, room).await.ok()?.ok()
    }

    /// Nobody enters any more; who is within stays.
    pub fn close(&self) {
        self.taken_up.close();
        self.all.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pictures_of_all_turns_together_keep_within_their_room() {
        let gate = Gate::default();
        let soon = || Instant::now() + Duration::from_secs(8);
        let mut held = Vec::new();
        for _ in 0..PICTURE_BYTES >> 22 {
            held.push(gate.room(4 << 20, soon()).await.unwrap());
        }
        assert!(gate.room(1, soon()).await.is_none(), "full");
        // Who waits gets what another turn gives back.
        let given_back = async {
            sleep(Duration::from_secs(1)).await;
            held.pop();
        };
        let (room, ()) = tokio::join!(gate.room(4 << 20, soon()), given_back);
        assert!(room.is_some());
        assert!(gate.room(u64::MAX, soon()).await.is_none());
    }

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
