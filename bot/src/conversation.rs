//! One mailbox for each conversation: its turns are answered in their order, conversations beside one another. It goes
//! with the last of them: between turns nothing of a conversation is in memory, its words are in the store.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio::time::timeout;

use crate::store::Scope;

/// Turns that may wait in one conversation behind the one that runs.
const WAITING_TURNS: usize = 32;

/// The work of one turn, and what it tells at its end.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A turn that ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<T> {
    /// The turn.
    pub id: u64,
    /// What its work told.
    pub told: Result<T, Panicked>,
}

/// The work of a turn panicked, and so told nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked;

/// A mailbox is full.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// All mailboxes, and the work that belongs to none. Their one owner is the intake loop.
pub struct Conversations<T> {
    /// What waits behind the running turn of each conversation.
    mailboxes: HashMap<Scope, VecDeque<(u64, Work<T>)>>,
    turns: JoinSet<T>,
    /// Whose turn a task is.
    running: HashMap<task::Id, (Scope, u64)>,
    aside: JoinSet<()>,
}

impl<T> std::fmt::Debug for Conversations<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversations")
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl<T> Default for Conversations<T> {
    fn default() -> Self {
        Self {
            mailboxes: HashMap::new(),
            turns: JoinSet::new(),
            running: HashMap::new(),
            aside: JoinSet::new(),
        }
    }
}

impl<T: Send + 'static> Conversations<T> {
    /// Begins a turn, or lets it wait in its mailbox for those before it.
    ///
    /// # Errors
    /// The mailbox is full.
    pub fn post(&mut self, scope: Scope, id: u64, work: Work<T>) -> Result<(), Full> {
        match self.mailboxes.get_mut(&scope) {
            Some(waiting) if waiting.len() >= WAITING_TURNS => return Err(Full),
            Some(waiting) => waiting.push_back((id, work)),
            None => {
                self.mailboxes.insert(scope, VecDeque::new());
                self.begin(scope, id, work);
            }
        }
        Ok(())
    }

    fn begin(&mut self, scope: Scope, id: u64, work: Work<T>) {
        let task = self.turns.spawn(work);
        self.running.insert(task.id(), (scope, id));
    }

    /// Waits for a turn to end, and begins the next of its conversation. Nothing is lost when the wait is given up.
    pub async fn ended(&mut self) -> Ended<T> {
        loop {
            let (task, told) = match self.turns.join_next_with_id().await {
                Some(Ok((task, told))) => (task, Ok(told)),
                Some(Err(error)) => {
                    report(&error);
                    (error.id(), Err(Panicked))
                }
                None => std::future::pending().await,
            };
            let Some((scope, id)) = self.running.remove(&task) else {
                continue;
            };
            match self.mailboxes.get_mut(&scope).and_then(VecDeque::pop_front) {
                Some((next, work)) => self.begin(scope, next, work),
                None => drop(self.mailboxes.remove(&scope)),
            }
            return Ended { id, told };
        }
    }

    /// Work that belongs to no conversation's order, such as deleting a reply.
    pub fn aside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while let Some(ended) = self.aside.try_join_next() {
            ended.unwrap_or_else(|error| report(&error));
        }
        self.aside.spawn(work);
    }

    /// How many turns run or wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.running.len() + self.mailboxes.values().map(VecDeque::len).sum::<usize>()
    }

    /// Lets running work end within `grace`, begins none, and says how much had to be left. What has not begun is in
    /// the store, and the next start takes it up.
    pub async fn drain(mut self, grace: Duration) -> usize {
        self.mailboxes.clear();
        let turns = async {
            while let Some(ended) = self.turns.join_next().await {
                ended.map_or_else(|error| report(&error), drop);
            }
        };
        let aside = async {
            while let Some(ended) = self.aside.join_next().await {
                ended.unwrap_or_else(|error| report(&error));
            }
        };
        let draining = async { tokio::join!(turns, aside) };
        if timeout(grace, draining).await.is_ok() {
            return 0;
        }
        let left = self.turns.len() + self.aside.len();
        self.turns.shutdown().await;
        self.aside.shutdown().await;
        left
    }
}

fn report(error: &JoinError) {
    if error.is_panic() {
        tracing::error!(
            event = "turn.panicked",
            "a turn ended in a panic; the others go on"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    fn stuck() -> Work<u32> {
        Box::pin(std::future::pending())
    }

    fn saying(what: u32) -> Work<u32> {
        Box::pin(async move {
            yield_now().await;
            what
        })
    }

    #[tokio::test]
    async fn turns_of_one_conversation_keep_their_order_and_nothing_stays_of_it() {
        let mut conversations = Conversations::default();
        for what in 0..20 {
            let posted = conversations.post(Scope::Thread(1), u64::from(what), saying(what));
            assert_eq!(posted, Ok(()));
        }
        assert_eq!(conversations.pending(), 20);
        for what in 0..20 {
            let ended = conversations.ended().await;
            assert_eq!(ended.id, u64::from(what));
            assert_eq!(ended.told, Ok(what));
        }
        assert_eq!(conversations.pending(), 0);
        assert!(conversations.mailboxes.is_empty() && conversations.turns.is_empty());
    }

    #[tokio::test]
    async fn a_stuck_or_panicking_turn_holds_nobody_else() {
        let mut conversations = Conversations::default();
        let panicking: Work<u32> = Box::pin(async { panic!("on purpose") });
        for (scope, id, work) in [(1, 1, stuck()), (2, 2, panicking), (2, 3, saying(3))] {
            assert_eq!(conversations.post(Scope::Thread(scope), id, work), Ok(()));
        }
        let told = Err(Panicked);
        assert_eq!(conversations.ended().await, Ended { id: 2, told });
        assert_eq!(conversations.ended().await, Ended { id: 3, told: Ok(3) });
        assert_eq!(conversations.pending(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_begins_nothing_and_leaves_what_does_not_end_in_time() {
        let mut conversations = Conversations::default();
        let (told, mut begun) = tokio::sync::oneshot::channel();
        let second: Work<u32> = Box::pin(async move { told.send(()).map_or(0, |()| 1) });
        for (id, work) in [(1, stuck()), (2, second)] {
            assert_eq!(conversations.post(Scope::Thread(1), id, work), Ok(()));
        }
        conversations.aside(async {});
        yield_now().await;
        assert_eq!(conversations.drain(Duration::from_secs(20)).await, 1);
        assert!(begun.try_recv().is_err(), "the second turn had not begun");
    }

    #[tokio::test]
    async fn a_full_mailbox_refuses_the_turn() {
        let mut conversations = Conversations::default();
        for id in 0..=WAITING_TURNS as u64 {
            assert_eq!(conversations.post(Scope::Thread(1), id, stuck()), Ok(()));
        }
        assert_eq!(conversations.post(Scope::Thread(1), 99, stuck()), Err(Full));
        assert_eq!(conversations.post(Scope::Thread(2), 99, stuck()), Ok(()));
    }
}
