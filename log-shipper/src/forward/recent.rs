//! This room remembers what was sent a moment ago, for sinks that acknowledge nothing: when such a connection breaks, all
//! of it may have died in a buffer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::follow::{Place, Places};

/// So many places are remembered at most: a second of one service is one of them.
const ENTRIES: usize = 256;
/// Batches of one service within this time share a place: to go back to the first of them is to go back to all.
const APART: Duration = Duration::from_secs(1);
/// So often in a row the same minute is sent again; a receiver that breaks off again and again gets no more of it.
const STEPS: u32 = 8;
/// After this long without a step, the next one is the first again.
const ROW: Duration = Duration::from_secs(600);

/// Where batches began that were sent a moment ago.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sent: VecDeque<(String, Place, Instant)>,
    steps: u32,
    stepped: Option<Instant>,
}

impl Recent {
    /// A batch of `service` that began at `place` was sent at `now`; what is older than `window` is forgotten.
    pub(super) fn sent(&mut self, service: &str, place: Place, now: Instant, window: Duration) {
        self.forget(now, window);
        let near = |(of, _, at): &(String, Place, Instant)| of == service && now - *at < APART;
        if window.is_zero() || self.sent.iter().rev().any(near) {
            return;
        }
        self.sent.push_back((service.to_owned(), place, now));
        if self.sent.len() > ENTRIES {
            self.sent.pop_front();
        }
    }

    /// Whether anything sent within `window` may still turn out to be lost.
    pub(super) fn is_open(&mut self, now: Instant, window: Duration) -> bool {
        self.forget(now, window);
        !self.sent.is_empty()
    }

    /// The connection broke: where each service has to go on from.
    pub(super) fn step_back(&mut self, now: Instant, window: Duration) -> Places {
        self.forget(now, window);
        let mut oldest = BTreeMap::new();
        for (service, place, _) in self.sent.drain(..) {
            oldest.entry(service).or_insert(place);
        }
        if oldest.is_empty() {
            return oldest;
        }
        if self.stepped.is_none_or(|at| now - at > ROW) {
            self.steps = 0;
        }
        self.steps += 1;
        if self.steps > STEPS {
            return Places::new();
        }
        self.stepped = Some(now);
        oldest
    }

    fn forget(&mut self, now: Instant, window: Duration) {
        while self
            .sent
            .front()
            .is_some_and(|(_, _, at)| now - *at > window)
        {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn place(offset: u64) -> Place {
        Place {
            offset,
            ..Place::default()
        }
    }

    fn at(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn every_service_goes_back_to_its_oldest_place_of_the_last_minute() {
        let (begin, mut recent) = (Instant::now(), Recent::default());
        recent.sent("bot", place(1), begin, WINDOW);
        recent.sent("bot", place(2), at(begin, 5_000), WINDOW);
        recent.sent("log-shipper", place(7), at(begin, 5_100), WINDOW);
        recent.sent("bot", place(3), at(begin, 5_900), WINDOW);
        recent.sent("bot", place(4), at(begin, 61_000), WINDOW);
        let back = recent.step_back(at(begin, 62_000), WINDOW);
        assert_eq!((&back["bot"], &back["log-shipper"]), (&place(2), &place(7)));
        assert!(recent.step_back(at(begin, 62_001), WINDOW).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (begin, mut recent) = (Instant::now(), Recent::default());
        for batch in 0..1_000_u64 {
            recent.sent("bot", place(batch), at(begin, batch * 10), WINDOW);
        }
        assert_eq!(recent.sent.len(), 10, "one a second");
        for service in 0..1_000 {
            recent.sent(&service.to_string(), place(0), at(begin, 10_000), WINDOW);
        }
        assert_eq!(recent.sent.len(), ENTRIES);
        let mut acknowledged = Recent::default();
        acknowledged.sent("bot", place(0), begin, Duration::ZERO);
        assert!(!acknowledged.is_open(begin, Duration::ZERO));
    }

    #[test]
    fn a_receiver_that_breaks_off_each_time_does_not_get_the_same_for_ever() {
        let (begin, mut recent) = (Instant::now(), Recent::default());
        let mut steps = 0;
        for round in 0..20 {
            let now = at(begin, round * 20_000);
            recent.sent("bot", place(0), now, WINDOW);
            steps += u32::from(!recent.step_back(now, WINDOW).is_empty());
        }
        assert_eq!(steps, STEPS);
        let later = at(begin, 2_000_000);
        recent.sent("bot", place(5), later, WINDOW);
        assert_eq!(recent.step_back(later, WINDOW)["bot"], place(5));
    }
}
