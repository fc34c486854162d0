//! This room makes the copies off-site between the other jobs: one archive a turn of the loop.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog::Catalog;
use crate::config::Config;
use crate::offsite::{self, Round, Step};
use crate::watch::Watch;

/// How often copies that could not be made are tried again.
const AGAIN_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What the loop knows about the second place.
pub(super) struct Copies {
    /// The round that is under way.
    round: Option<Round>,
    goes_on: bool,
    next: Timestamp,
}

impl Copies {
    /// The place may be another one than before the start: it is looked at in any case.
    pub(super) fn at_start(now: Timestamp) -> Self {
        Self {
            round: Some(Round::default()),
            goes_on: false,
            next: now.saturating_add(AGAIN_EVERY).unwrap_or(now),
        }
    }

    /// There is a new archive.
    pub(super) fn due_now(&mut self) {
        self.round.get_or_insert_default();
    }

    /// Begins a round every hour while something waits.
    pub(super) fn retry(&mut self, config: &Config, catalog: &Catalog, now: Timestamp) {
        // After a clock that went back, now is long before the next time.
        let waits = self.next > now && self.next.duration_since(now) <= AGAIN_EVERY;
        if waits {
            return;
        }
        self.next = now.saturating_add(AGAIN_EVERY).unwrap_or(now);
        if offsite::is_behind(config, catalog) {
            self.due_now();
        }
    }

    /// Copies one archive, if there is one to copy.
    pub(super) fn turn(&mut self, config: &Config, watch: &Watch) {
        self.goes_on = false;
        let Some(round) = &mut self.round else { return };
        if watch.is_stopping() {
            return;
        }
        match round.step(config, Duration::ZERO, watch) {
            Step::More => self.goes_on = true,
            Step::Busy => {}
            Step::Over => self.round = None,
        }
    }

    /// Whether the next archive waits for nothing but its turn.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }
}
