//! The owner thread: takes waiting calls together, runs each in its own savepoint, commits once, answers after.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Error;

/// How many calls may share one commit.
const CALLS_PER_COMMIT: usize = 256;

/// Tells the caller how it ended, once the commit is known.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Work = Box<dyn FnOnce(&Connection) -> (bool, Answer) + Send>;

/// One thing asked of the store.
pub(super) enum Call {
    /// Work inside the shared transaction.
    Work(Work),
    /// Fold the log into the database, so that deleted words are gone from both.
    Fold(oneshot::Sender<Result<(), Error>>),
    /// Stop after what was asked before.
    Close,
}

impl Call {
    /// Wraps `work` so that its outcome reaches `answer` only after the commit.
    pub(super) fn new<T, F>(work: F, answer: oneshot::Sender<Result<T, Error>>) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        Self::Work(Box::new(move |connection| {
            let outcome = work(connection);
            let keep = outcome.is_ok();
            let tell: Answer = Box::new(move |commit| {
                // The caller may have stopped waiting; the work stands all the same.
                drop(answer.send(commit.and(outcome)));
            });
            (keep, tell)
        }))
    }
}

/// Serves calls until closed or until every handle is gone.
pub(super) fn serve(connection: Connection, mut waiting: mpsc::Receiver<Call>) {
    let mut open = true;
    while open {
        let Some(first) = waiting.blocking_recv() else {
            break;
        };
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(call) = next {
            match call {
                Call::Work(work) => batch.push(work),
                Call::Fold(answer) => {
                    commit_together(&connection, std::mem::take(&mut batch));
                    drop(answer.send(fold(&connection)));
                }
                Call::Close => {
                    open = false;
                    break;
                }
            }
            next = (batch.len() < CALLS_PER_COMMIT)
                .then(|| waiting.try_recv().ok())
                .flatten();
        }
        commit_together(&connection, batch);
    }
    waiting.close();
    farewell(connection);
}

/// One transaction for all of `batch`; a call that fails takes back its own writes alone.
fn commit_together(connection: &Connection, batch: Vec<Work>) {
    if batch.is_empty() {
        return;
    }
    let alone = batch.len() == 1;
    let mut answers = Vec::with_capacity(batch.len());
    let begun = connection.execute_batch("BEGIN");
    for work in batch {
        if !alone {
            run(connection, "SAVEPOINT one");
        }
        let (keep, answer) = work(connection);
        match (keep, alone) {
            (true, false) => run(connection, "RELEASE one"),
            (false, false) => run(connection, "ROLLBACK TO one; RELEASE one"),
            (false, true) => run(connection, "ROLLBACK; BEGIN"),
            (true, true) => {}
        }
        answers.push(answer);
    }
    let outcome = begun
        .and_then(|()| connection.execute_batch("COMMIT"))
        .map_err(Error::from);
    if let Err(error) = &outcome {
        tracing::error!(event = "store.commit_failed", error = %error, calls = answers.len(), "nothing of this commit was kept");
        if !connection.is_autocommit() {
            run(connection, "ROLLBACK");
        }
    }
    for answer in answers {
        answer(outcome.clone());
    }
}

/// Transaction control whose failure shows itself again at the commit.
fn run(connection: &Connection, statement: &str) {
    if let Err(error) = connection.execute_batch(statement) {
        tracing::debug!(error = %Error::from(error), statement, "transaction control failed");
    }
}

fn fold(connection: &Connection) -> Result<(), Error> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// Folds the log into the database, so that a stopped bot leaves one file.
fn farewell(connection: Connection) {
    run(&connection, "PRAGMA optimize");
    if let Err(error) = fold(&connection) {
        tracing::warn!(event = "store.checkpoint_failed", error = %error, "the log stays beside the database, which is complete with it");
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(event = "store.close_failed", error = %Error::from(error), "the database closed uncleanly");
    }
}
