//! This room decides how long to wait before trying again; it is pure.

use std::time::Duration;

/// Exponential delays with jitter and a ceiling.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Delay before the first repetition.
    pub base: Duration,
    /// No delay is longer, unless the server asks for it.
    pub max: Duration,
    /// Share of the delay that chance may take away, 0.0 to 1.0.
    pub jitter: f64,
}

impl Backoff {
    /// The delay before repetition `attempt` (0 = the first). A server's `hint` is a lower bound that jitter never
    /// undercuts. `random` is a number from 0.0 to 1.0.
    #[must_use]
    pub fn delay(&self, attempt: u32, hint: Option<Duration>, random: f64) -> Duration {
        let doubled = self
            .base
            .saturating_mul(1_u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX))
            .min(self.max);
        let kept = 1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0);
        let own = doubled.mul_f64(kept);
        hint.map_or(own, |hint| own.max(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        max: Duration::from_secs(30),
        jitter: 0.5,
    };

    #[test]
    fn it_doubles_up_to_the_ceiling() {
        let delays: Vec<u64> = (0..7)
            .map(|n| BACKOFF.delay(n, None, 0.0).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(BACKOFF.delay(u32::MAX, None, 0.0).as_secs(), 30);
    }

    #[test]
    fn jitter_takes_at_most_its_share_and_never_the_hint() {
        assert_eq!(BACKOFF.delay(2, None, 1.0), Duration::from_secs(2));
        let hint = Duration::from_secs(90);
        assert_eq!(BACKOFF.delay(0, Some(hint), 1.0), hint);
    }
}
