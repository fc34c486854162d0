//! When the next request may go out: fifty a second in all, and pauses that Discord asked for.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap};
use tokio::time::{Instant, sleep};

/// Discord allows fifty requests a second; a little is left for what it counts differently.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(48).unwrap();
/// A clock that is wrong by less than this is left alone.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(90);

/// The pauses, and what is known of Discord's clock.
pub(super) struct Pace {
    clock: DefaultClock,
    everything: Option<DefaultDirectRateLimiter>,
    pauses: Mutex<Pauses>,
    /// Discord's time minus ours, in milliseconds.
    ahead_ms: AtomicI64,
}

#[derive(Default)]
struct Pauses {
    all: Option<Instant>,
    /// By method and path. Entries go when they are over.
    routes: HashMap<String, Instant>,
}

impl Pace {
    /// With the global limit, or without it where another program keeps it.
    pub(super) fn new(is_limited: bool) -> Self {
        Self {
            clock: DefaultClock::default(),
            everything: is_limited.then(|| RateLimiter::direct(Quota::per_second(PER_SECOND))),
            pauses: Mutex::default(),
            ahead_ms: AtomicI64::new(0),
        }
    }

    /// Waits until `key` may be asked; gives back a pause that is longer than `longest`.
    pub(super) async fn wait(&self, key: &str, longest: Duration) -> Result<(), Duration> {
        while let Some(pause) = self.pause_for(key) {
            if pause > longest {
                return Err(pause);
            }
            sleep(pause).await;
        }
        let Some(everything) = &self.everything else {
            return Ok(());
        };
        while let Err(until) = everything.check() {
            sleep(
                until
                    .wait_time_from(self.clock.now())
                    .max(Duration::from_millis(1)),
            )
            .await;
        }
        Ok(())
    }

    /// Discord asked for a pause: of one route, or of everything.
    pub(super) fn hold(&self, key: Option<String>, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pauses = self.pauses();
        match key {
            Some(key) => {
                pauses.routes.insert(key, until);
            }
            None => pauses.all = Some(until),
        }
    }

    fn pause_for(&self, key: &str) -> Option<Duration> {
        let now = Instant::now();
        let mut pauses = self.pauses();
        pauses.routes.retain(|_, until| *until > now);
        let until = pauses.routes.get(key).copied().max(pauses.all)?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn pauses(&self) -> std::sync::MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads Discord's time off an answer.
    pub(super) fn learn_clock(&self, headers: &HeaderMap) {
        let told = headers.get(DATE).and_then(|value| value.to_str().ok());
        let Some(theirs) = told.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()) else {
            return;
        };
        let ahead = theirs.timestamp().duration_since(daemon_kit::time::now());
        let ahead_ms = if ahead.abs() > TOLERANCE {
            ahead.as_millis() as i64
        } else {
            0
        };
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// `now` by Discord's clock.
    pub(super) fn corrected(&self, now: Timestamp) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        now.checked_add(ahead).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_its_route_or_everything() {
        let pace = Pace::new(false);
        pace.hold(Some("Post /a".to_owned()), Duration::from_secs(5));
        let begun = Instant::now();
        pace.wait("Post /b", MINUTE).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pace.wait("Post /a", MINUTE).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(5));
        pace.hold(None, Duration::from_secs(3));
        pace.wait("Post /b", MINUTE).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(8));
        pace.hold(None, MINUTE * 5);
        assert_eq!(pace.wait("Post /b", MINUTE).await, Err(MINUTE * 5));
    }

    #[test]
    fn a_wrong_clock_is_corrected_and_a_good_one_left_alone() {
        let pace = Pace::new(false);
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Fri, 01 Jan 2100 00:00:00 GMT".parse().unwrap());
        pace.learn_clock(&headers);
        assert!(pace.corrected(now) > "2050-01-01T00:00:00Z".parse().unwrap());
        let here = jiff::fmt::rfc2822::to_string(
            &daemon_kit::time::now().to_zoned_datetime(jiff::tz::TimeZone::UTC),
        )
        .unwrap();
        headers.insert(DATE, here.parse().unwrap());
        pace.learn_clock(&headers);
        assert_eq!(pace.corrected(now), now);
    }
}
