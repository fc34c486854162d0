//! One mailbox for each conversation: its turns are answered in their order, conversations beside one another.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::store::Scope;

/// Turns that may wait in one conversation.
const WAITING_TURNS: usize = 32;
/// A mailbox that has had nothing to do for this long is put away; the words are in the store.
const IDLE: Duration = Duration::from_secs(60);

/// The work of one turn.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Mailbox {
    letters: mpsc::Sender<Work>,
    pending: Arc<AtomicUsize>,
    used: Instant,
}

/// All mailboxes. Their one owner is the intake loop.
pub struct Conversations {
    mailboxes: HashMap<Scope, Mailbox>,
    tasks: JoinSet<()>,
    draining: watch::Sender<bool>,
    idle: Duration,
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversations")
            .field("mailboxes", &self.mailboxes.len())
            .finish_non_exhaustive()
    }
}

impl Default for Conversations {
    fn default() -> Self {
        Self::new(IDLE)
    }
}

impl Conversations {
    /// A quiet mailbox is put away after `idle`, and never later than a minute: what was said is in the store.
    #[must_use]
    pub fn new(idle: Duration) -> Self {
        Self {
            idle: idle.min(IDLE),
            mailboxes: HashMap::new(),
            tasks: JoinSet::new(),
            draining: watch::Sender::new(false),
        }
    }

    /// Puts a turn into its conversation's mailbox; gives it back when that is full.
    pub fn post(&mut self, scope: Scope, work: Work) -> Result<(), Work> {
        let mailbox = self.mailboxes.entry(scope).or_insert_with(|| {
            let (letters, waiting) = mpsc::channel(WAITING_TURNS);
            let pending = Arc::new(AtomicUsize::new(0));
            self.tasks.spawn(attend(
                waiting,
                Arc::clone(&pending),
                self.draining.subscribe(),
            ));
            Mailbox {
                letters,
                pending,
                used: Instant::now(),
            }
        });
        mailbox.used = Instant::now();
        mailbox.pending.fetch_add(1, Ordering::Relaxed);
        mailbox.letters.try_send(work).map_err(|error| {
            mailbox.pending.fetch_sub(1, Ordering::Relaxed);
            error.into_inner()
        })
    }

    /// Work that belongs to no conversation's order, such as deleting a reply.
    pub fn aside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Puts idle mailboxes away. Only the owner posts, so an empty one stays empty meanwhile.
    pub fn tidy(&mut self) {
        let (now, idle) = (Instant::now(), self.idle);
        self.mailboxes.retain(|_, mailbox| {
            mailbox.pending.load(Ordering::Relaxed) > 0 || now.duration_since(mailbox.used) < idle
        });
        while let Some(ended) = self.tasks.try_join_next() {
            report(ended);
        }
    }

    /// How many turns run or wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.mailboxes
            .values()
            .map(|mailbox| mailbox.pending.load(Ordering::Relaxed))
            .sum()
    }

    /// Lets running turns end within `grace`, begins none, and says how many had to be left.
    pub async fn drain(mut self, grace: Duration) -> usize {
        self.draining.send_replace(true);
        self.mailboxes.clear();
        let draining = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(grace, draining).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        left
    }
}

async fn attend(
    mut waiting: mpsc::Receiver<Work>,
    pending: Arc<AtomicUsize>,
    draining: watch::Receiver<bool>,
) {
    while let Some(work) = waiting.recv().await {
        // What has not begun is in the store, and the next start takes it up.
        if !*draining.borrow() {
            // In a task of its own: a panic costs this turn alone. In a set: it ends when we are ended.
            let mut turn = JoinSet::new();
            turn.spawn(work);
            while let Some(ended) = turn.join_next().await {
                report(ended);
            }
        }
        pending.fetch_sub(1, Ordering::Relaxed);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            event = "turn.panicked",
            "a turn ended in a panic; the others go on"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;

    use super::*;

    fn note(log: &Arc<Mutex<Vec<u32>>>, what: u32) -> Work {
        let log = Arc::clone(log);
        Box::pin(async move {
            tokio::task::yield_now().await;
            log.lock().unwrap().push(what);
        })
    }

    #[tokio::test]
    async fn turns_of_one_conversation_keep_their_order() {
        let mut conversations = Conversations::default();
        let log = Arc::default();
        for what in 0..20 {
            assert!(
                conversations
                    .post(Scope::Thread(1), note(&log, what))
                    .is_ok()
            );
        }
        let (done, end) = oneshot::channel();
        let last: Work = Box::pin(async move { done.send(()).unwrap() });
        assert!(conversations.post(Scope::Thread(1), last).is_ok());
        end.await.unwrap();
        assert_eq!(*log.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(conversations.drain(Duration::from_secs(60)).await, 0);
    }

    #[tokio::test]
    async fn a_stuck_or_panicking_turn_holds_nobody_else() {
        let mut conversations = Conversations::default();
        assert!(
            conversations
                .post(Scope::Thread(1), Box::pin(std::future::pending()))
                .is_ok()
        );
        assert!(
            conversations
                .post(Scope::Thread(2), Box::pin(async { panic!("on purpose") }))
                .is_ok()
        );
        for scope in [Scope::Thread(2), Scope::Thread(3)] {
            let (done, end) = oneshot::channel();
            let work: Work = Box::pin(async move { done.send(()).unwrap() });
            assert!(conversations.post(scope, work).is_ok());
            end.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn draining_leaves_what_does_not_end_in_time() {
        let mut conversations = Conversations::default();
        let log = Arc::default();
        assert!(
            conversations
                .post(Scope::Thread(1), Box::pin(std::future::pending()))
                .is_ok()
        );
        assert!(conversations.post(Scope::Thread(1), note(&log, 1)).is_ok());
        tokio::task::yield_now().await;
        assert_eq!(conversations.drain(Duration::from_secs(20)).await, 1);
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_full_mailbox_gives_the_turn_back() {
        let mut conversations = Conversations::default();
        let mut refused = 0;
        for _ in 0..WAITING_TURNS + 5 {
            let stuck: Work = Box::pin(std::future::pending());
            refused += usize::from(conversations.post(Scope::Thread(1), stuck).is_err());
        }
        assert!(refused >= 4, "the queue is bounded");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_mailboxes_are_put_away_and_busy_ones_stay() {
        let mut conversations = Conversations::default();
        let (done, end) = oneshot::channel();
        let quick: Work = Box::pin(async move { done.send(()).unwrap() });
        assert!(conversations.post(Scope::Thread(1), quick).is_ok());
        assert!(
            conversations
                .post(Scope::Thread(2), Box::pin(std::future::pending()))
                .is_ok()
        );
        end.await.unwrap();
        tokio::time::sleep(IDLE * 2).await;
        conversations.tidy();
        assert_eq!(conversations.mailboxes.len(), 1);
        assert_eq!(conversations.pending(), 1);
    }
}
