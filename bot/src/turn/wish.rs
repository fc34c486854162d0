//! Whether an answer is still wanted while it is being given.

use tokio::sync::watch;

/// What the one who asked wants of a turn on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// An answer.
    #[default]
    Wanted,
    /// No more of it; what was shown stays.
    Enough,
    /// Nothing: the question was deleted.
    Gone,
}

/// Returns when `wanted` is what is wanted; never, when that cannot happen any more.
pub(super) async fn until(mut wish: watch::Receiver<Wish>, wanted: Wish) {
    if wish.wait_for(|wish| *wish == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
