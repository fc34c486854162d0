//! Rate limits: one bucket for all, one for each person; mentions go before threads, threads before unasked speech.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

/// Nobody waits longer for the common bucket; then a kind note says to come back later.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at the bucket.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// People who have been quiet are forgotten once this many are known.
const PEOPLE_LIMIT: usize = 10_000;

/// Who may go first when the bucket is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody asked: never waits, and pays with a fifth of the bucket, so that it speaks only when all is quiet.
    Unasked,
    /// A conversation that goes on.
    Thread,
    /// Someone calls.
    Mention,
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Everybody together asks too much at the moment.
    #[error("the common rate limit is reached")]
    Everybody,
    /// This person has asked a lot; they are welcome again after this long.
    #[error("a member's own rate limit is reached")]
    Person(Duration),
}

/// Both limits.
pub struct Limits {
    clock: DefaultClock,
    everybody: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    people: RateLimiter<u64, HashMapStateStore<u64>, DefaultClock>,
    unasked_price: NonZeroU32,
    /// How many wait, by urgency: thread, mention.
    waiting: [AtomicU32; 2],
}

impl Limits {
    /// A bucket of `capacity` that refills by `refill` a second, and `per_minute` for each person.
    #[must_use]
    pub fn new(capacity: u32, refill: f64, per_minute: u32) -> Self {
        let period =
            Duration::try_from_secs_f64(1.0 / refill.max(1e-6)).unwrap_or(Duration::from_secs(1));
        let capacity = NonZeroU32::new(capacity).unwrap_or(NonZeroU32::MIN);
        // A period of no length would be no limit at all; a nanosecond is as good as none.
        let quota = Quota::with_period(period.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_second(NonZeroU32::MAX))
            .allow_burst(capacity);
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            clock: DefaultClock::default(),
            everybody: RateLimiter::direct(quota),
            people: RateLimiter::hashmap(Quota::per_minute(per_minute)),
            unasked_price: NonZeroU32::new(capacity.get().div_ceil(5)).unwrap_or(NonZeroU32::MIN),
            waiting: [AtomicU32::new(0), AtomicU32::new(0)],
        }
    }

    /// May this person ask now?
    pub fn admit_person(&self, user_id: u64) -> Result<(), Busy> {
        if self.people.len() > PEOPLE_LIMIT {
            self.people.retain_recent();
        }
        let wait =
            |until: governor::NotUntil<_>| Busy::Person(until.wait_time_from(self.clock.now()));
        self.people.check_key(&user_id).map_err(wait)
    }

    /// Waits for a place in the common bucket, those who call before those who go on.
    pub async fn admit(&self, urgency: Urgency) -> Result<(), Busy> {
        if self.look(urgency).is_ok() {
            return Ok(());
        }
        let Some(waiting) = self.queue(urgency) else {
            return Err(Busy::Everybody);
        };
        waiting.fetch_add(1, Ordering::Relaxed);
        // Also when the caller gives up and drops us.
        let _leave = Leave(waiting);
        let end = Instant::now() + LONGEST_WAIT;
        while Instant::now() < end {
            match self.look(urgency) {
                Ok(()) => return Ok(()),
                Err(pause) => sleep(pause.clamp(Duration::from_millis(1), LONGEST_LOOK)).await,
            }
        }
        Err(Busy::Everybody)
    }

    fn look(&self, urgency: Urgency) -> Result<(), Duration> {
        let more_urgent = match urgency {
            Urgency::Mention => 0,
            Urgency::Thread => self.waiting[1].load(Ordering::Relaxed),
            Urgency::Unasked => {
                return match self.everybody.check_n(self.unasked_price) {
                    Ok(Ok(())) => Ok(()),
                    _ => Err(Duration::ZERO),
                };
            }
        };
        if more_urgent > 0 {
            return Err(LONGEST_LOOK / 10);
        }
        self.everybody
            .check()
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn queue(&self, urgency: Urgency) -> Option<&AtomicU32> {
        match urgency {
            Urgency::Unasked => None,
            Urgency::Thread => Some(&self.waiting[0]),
            Urgency::Mention => Some(&self.waiting[1]),
        }
    }
}

struct Leave<'a>(&'a AtomicU32);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_a_limit_of_their_own() {
        let limits = Limits::new(50, 0.8, 3);
        for _ in 0..3 {
            assert_eq!(limits.admit_person(1), Ok(()));
        }
        let Err(Busy::Person(wait)) = limits.admit_person(1) else {
            panic!("a fourth was admitted")
        };
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(20));
        assert_eq!(limits.admit_person(2), Ok(()));
    }

    #[tokio::test]
    async fn unasked_speech_never_waits_and_speaks_only_when_all_is_quiet() {
        let limits = Limits::new(5, 0.001, 10);
        for _ in 0..5 {
            assert_eq!(limits.admit(Urgency::Mention).await, Ok(()));
        }
        assert_eq!(limits.admit(Urgency::Unasked).await, Err(Busy::Everybody));
    }

    #[tokio::test]
    async fn a_waiting_mention_goes_before_a_thread() {
        let limits = Limits::new(1, 20.0, 10);
        assert_eq!(limits.admit(Urgency::Mention).await, Ok(()));
        limits.waiting[1].fetch_add(1, Ordering::Relaxed);
        assert!(limits.look(Urgency::Thread).is_err());
        assert_eq!(limits.admit(Urgency::Mention).await, Ok(()));
        limits.waiting[1].fetch_sub(1, Ordering::Relaxed);
        assert_eq!(limits.admit(Urgency::Thread).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends() {
        let limits = Limits::new(1, 0.000_1, 10);
        assert_eq!(limits.admit(Urgency::Thread).await, Ok(()));
        assert_eq!(limits.admit(Urgency::Thread).await, Err(Busy::Everybody));
        assert_eq!(limits.waiting[0].load(Ordering::Relaxed), 0);
    }
}
