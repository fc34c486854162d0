//! Signals → soft token → grace → hard token.

use std::io;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::shutdown::Shutdown;

/// Time to drain. Compose kills after 30 s.
const GRACE: Duration = Duration::from_secs(25);

/// Time to leave once everyone was told to leave at once.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// Turns the first SIGTERM or SIGINT into a soft stop, and the second, or the end of the grace, into a hard one.
/// When this returns, the handlers are in force.
///
/// # Errors
/// When a handler or a thread cannot be made.
pub(super) fn listen(shutdown: &Shutdown) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let token = shutdown.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if token.is_soft() {
                    token.force();
                } else {
                    tracing::info!(
                        event = "stop.asked",
                        "told to stop: finishing what is begun"
                    );
                    token.begin();
                }
            }
        })?;
    let token = shutdown.clone();
    let overseer = move || oversee(&token);
    thread::Builder::new()
        .name("grace".to_owned())
        .spawn(overseer)?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "whatever hangs now must not keep the container; every file is consistent at any instant"
)]
fn oversee(token: &Shutdown) {
    while !token.wait(Duration::from_hours(1)) {}
    if !token.wait_hard(GRACE) {
        tracing::warn!(
            event = "stop.forced",
            "the grace period is over: leaving at once"
        );
        token.force();
    }
    thread::sleep(LAST_MOMENT);
    std::process::exit(1);
}
