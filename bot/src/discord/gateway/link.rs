//! Whether we hear Discord: written by the gateway, read by the heartbeat.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected, since then.
    Down {
        /// Since when.
        since: Instant,
    },
    /// Connected, and heard of at that moment.
    Up {
        /// When Discord last answered a heartbeat (or greeted us).
        heard: Instant,
    },
}

/// The state of the gateway and the wish to stop, shared by its clones.
#[derive(Clone, Debug)]
pub struct Link {
    state: watch::Sender<LinkState>,
    stop: watch::Sender<bool>,
}

/// Waits for the wish to stop.
#[derive(Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Without a connection for this long, or without an answer for that long, the bot does not answer either.
const DOWN_TOO_LONG: Duration = Duration::from_mins(1);
const SILENT_TOO_LONG: Duration = Duration::from_secs(120);

impl Default for Link {
    fn default() -> Self {
        let state = LinkState::Down {
            since: Instant::now(),
        };
        Self {
            state: watch::Sender::new(state),
            stop: watch::Sender::new(false),
        }
    }
}

impl Link {
    /// The state changed. Being down since earlier stays being down since then.
    pub fn set(&self, state: LinkState) {
        self.state.send_if_modified(|known| {
            let stays_down = matches!(
                (*known, state),
                (LinkState::Down { .. }, LinkState::Down { .. })
            );
            if !stays_down {
                *known = state;
            }
            !stays_down
        });
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// For noticing changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Asks the gateway to hang up.
    pub fn hang_up(&self) {
        self.stop.send_replace(true);
    }

    /// For waiting until then.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }
}

impl Stop {
    /// Returns when the wish is there.
    pub async fn wait(&mut self) {
        // The sender lives as long as any link; if it is gone, stopping is right.
        drop(self.0.wait_for(|stop| *stop).await);
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// What is wrong, if anything.
#[must_use]
pub fn ailment(state: LinkState, now: Instant) -> Option<&'static str> {
    match state {
        LinkState::Down { since } if now.duration_since(since) >= DOWN_TOO_LONG => {
            Some("no connection to Discord")
        }
        LinkState::Up { heard } if now.duration_since(heard) >= SILENT_TOO_LONG => {
            Some("Discord is silent")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_and_absence_are_ailments() {
        let begun = Instant::now();
        let after = |secs| begun + Duration::from_secs(secs);
        assert_eq!(ailment(LinkState::Down { since: begun }, after(59)), None);
        assert!(ailment(LinkState::Down { since: begun }, after(60)).is_some());
        assert_eq!(ailment(LinkState::Up { heard: begun }, after(90)), None);
        assert!(ailment(LinkState::Up { heard: begun }, after(120)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn being_down_counts_from_the_first_moment() {
        let link = Link::default();
        let LinkState::Down { since } = link.state() else {
            panic!("a new link is down")
        };
        tokio::time::sleep(Duration::from_secs(5)).await;
        link.set(LinkState::Down {
            since: Instant::now(),
        });
        assert_eq!(link.state(), LinkState::Down { since });
        link.set(LinkState::Up {
            heard: Instant::now(),
        });
        assert!(matches!(link.state(), LinkState::Up { .. }));
    }
}
