//! What is remembered. One thread owns the connection; everyone else holds this cheap handle.
//!
//! A mention costs two syncs: [`Store::begin_turn`] makes the question durable before anybody works on it,
//! [`Store::finish_turn`] makes the answer durable once Discord has taken it. Calls that arrive together share one
//! commit.

mod again;
mod consent;
mod forget;
mod history;
mod import;
mod kept;
mod ledger;
mod let_go;
mod people;
mod schema;
#[cfg(test)]
mod tests;
mod thread;
mod turns;
mod usage;

use std::fmt;
use std::path::{Path, PathBuf};

pub use again::{Reopen, Reopened};
pub use forget::{Forgotten, Tombstone};
pub use history::{Remembered, Role};
pub use import::Report as ImportReport;
pub use kept::{Exported, Kept, KeptForgetting, KeptTurn};
pub use ledger::{Cause, Identify};
pub use schema::SCHEMA_VERSION;
pub use turns::{BeginTurn, Erased, FinishTurn, NewTurn, OpenTurn, State, Way};
pub use usage::{PlaceRow, Purpose, Spent, UsageRow};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// How many calls may wait for the store before callers themselves wait.
const WAITING_CALLS: usize = 1024;

/// Who can hear what is said: memory never crosses from one scope into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody in one thread.
    Thread(u64),
    /// One member in one channel.
    Pair {
        /// The channel.
        channel: u64,
        /// The member.
        user: u64,
    },
    /// One direct message channel.
    Direct(u64),
    /// What was said unasked in a channel.
    Overheard(u64),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(id) => write!(f, "thread:{id}"),
            Self::Pair { channel, user } => write!(f, "pair:{channel}:{user}"),
            Self::Direct(id) => write!(f, "dm:{id}"),
            Self::Overheard(id) => write!(f, "eavesdrop:{id}"),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, rest) = text.split_once(':').ok_or(())?;
        let id = |t: &str| t.parse().map_err(|_| ());
        match kind {
            "thread" => Ok(Self::Thread(id(rest)?)),
            "dm" => Ok(Self::Direct(id(rest)?)),
            "eavesdrop" => Ok(Self::Overheard(id(rest)?)),
            "pair" => {
                let (channel, user) = rest.split_once(':').ok_or(())?;
                Ok(Self::Pair {
                    channel: id(channel)?,
                    user: id(user)?,
                })
            }
            _ => Err(()),
        }
    }
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// The database was made by a newer program.
    #[error("the database has schema {found}, this program knows up to {known}")]
    Newer {
        /// What the file says.
        found: i64,
        /// What this program can read.
        known: i64,
    },
    /// The database is in the predecessor's schema and has to be imported first.
    #[error("the database is in the predecessor's schema")]
    Predecessor,
    /// No room on the disk.
    #[error("the disk is full")]
    Full,
    /// SQLite said no; its message names no content.
    #[error("database: {0}")]
    Sqlite(String),
    /// A file beside the database could not be read or written.
    #[error("{0}")]
    File(String),
    /// The owner thread has gone.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            // The code's own text: a statement or a value in a message could hold what somebody said.
            Some(_) => Self::Sqlite(match &error {
                rusqlite::Error::SqliteFailure(inner, _) => inner.to_string(),
                _ => "statement failed".to_owned(),
            }),
            None => Self::Sqlite(match error {
                rusqlite::Error::QueryReturnedNoRows => "no such row".to_owned(),
                _ => "unexpected shape of a row".to_owned(),
            }),
        }
    }
}

/// The handle: cloned freely, all clones talk to one thread.
#[derive(Clone)]
pub struct Store {
    calls: mpsc::Sender<thread::Call>,
    path: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Waits for the owner thread to end after [`Store::close`].
#[derive(Debug)]
pub struct Closing(std::thread::JoinHandle<()>);

impl Closing {
    /// Waits until the last commit and the checkpoint are done.
    pub fn wait(self) {
        if self.0.join().is_err() {
            tracing::error!(
                event = "store.panicked",
                "the store's thread ended in a panic"
            );
        }
    }
}

impl Store {
    /// Opens (and makes or migrates) the database, applies what is to stay forgotten, and starts the owner thread.
    ///
    /// # Errors
    /// A newer or foreign schema, or a file that cannot be opened.
    pub fn open(path: &Path) -> Result<(Self, Closing), Error> {
        let mut connection = schema::open(path)?;
        forget::apply_tombstones(&mut connection, path)?;
        let (calls, waiting) = mpsc::channel(WAITING_CALLS);
        let handle = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || thread::serve(connection, waiting))
            .map_err(|error| Error::File(error.to_string()))?;
        let store = Self {
            calls,
            path: path.to_owned(),
        };
        Ok((store, Closing(handle)))
    }

    /// The SQLite that is built in.
    #[must_use]
    pub fn sqlite_version() -> &'static str {
        rusqlite::version()
    }

    /// Where the database lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in the owner thread and answers after the commit that holds it.
    async fn call<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let call = thread::Call::new(work, answer);
        self.calls.send(call).await.map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Proof of life: answered by the owner thread.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call(|_| Ok(())).await
    }

    /// Waits until the owner thread is gone.
    pub async fn gone(&self) {
        self.calls.closed().await;
    }

    /// Folds the log into the database: what was deleted is then in neither.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn fold(&self) -> Result<(), Error> {
        let (answer, outcome) = oneshot::channel();
        self.calls
            .send(thread::Call::Fold(answer))
            .await
            .map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Ends the owner thread after everything already asked for; later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        // A full queue or a gone thread both end in the same place: nothing more is accepted.
        if self.calls.send(thread::Call::Close).await.is_err() {
            tracing::debug!("store already closed");
        }
    }
}
