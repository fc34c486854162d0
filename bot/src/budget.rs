//! The month's money: warns, turns to the cheaper model, and rests, in that order. Pure.

use crate::prices::Micros;

/// What the money is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Someone asked.
    Asked,
    /// Speech that nobody asked for, and the judging of it.
    Unasked,
}

/// What may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As usual.
    Open,
    /// As usual, but the owner is to be told that this many percent are gone.
    Warn(u8),
    /// The fallback model first.
    Cheaper,
    /// Nothing more this month.
    Closed,
}

/// From here on the owner is told.
const WARN_PERCENT: u64 = 80;
/// From here on the cheaper model answers, and unasked speech rests: the last of it belongs to those who ask.
const CHEAPER_PERCENT: u64 = 90;

/// The month's money as it stands. Its one owner asks before each answer and reports after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// 0 = no limit.
    limit: Micros,
    spent: Micros,
    /// Promised to answers that are on their way.
    reserved: Micros,
}

impl Ledger {
    /// `limit` dollars a month, of which `spent` are gone.
    #[must_use]
    pub fn new(limit_dollars: f64, spent: Micros) -> Self {
        Self {
            limit: (limit_dollars.max(0.0) * 1e6).round() as Micros,
            spent,
            reserved: 0,
        }
    }

    /// May an answer begin that may cost `most`? If so, that much is set aside until [`Self::settle`].
    ///
    /// What is set aside counts as spent, so that many answers at once cannot pass the limit together.
    pub fn reserve(&mut self, purpose: Purpose, most: Micros) -> Verdict {
        let verdict = self.verdict(purpose);
        if verdict != Verdict::Closed {
            self.reserved += most;
        }
        verdict
    }

    /// The answer is over: what was set aside is freed, what it cost is spent.
    pub fn settle(&mut self, reserved: Micros, cost: Micros) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.spent += cost;
    }

    /// A new month, or another count from the store.
    pub fn begin(&mut self, spent: Micros) {
        self.spent = spent;
    }

    /// Gone so far.
    #[must_use]
    pub fn spent(&self) -> Micros {
        self.spent
    }

    fn verdict(&self, purpose: Purpose) -> Verdict {
        if self.limit == 0 {
            return Verdict::Open;
        }
        let percent = (self.spent + self.reserved).saturating_mul(100) / self.limit;
        match (purpose, percent) {
            (_, 100..) | (Purpose::Unasked, CHEAPER_PERCENT..) => Verdict::Closed,
            (Purpose::Asked, CHEAPER_PERCENT..) => Verdict::Cheaper,
            (_, WARN_PERCENT..) => Verdict::Warn(percent.min(100) as u8),
            _ => Verdict::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_lands_softly() {
        let at = |spent, purpose| Ledger::new(10.0, spent).reserve(purpose, 1);
        assert_eq!(at(7_990_000, Purpose::Asked), Verdict::Open);
        assert_eq!(at(8_000_000, Purpose::Asked), Verdict::Warn(80));
        assert_eq!(at(9_000_000, Purpose::Asked), Verdict::Cheaper);
        assert_eq!(at(9_000_000, Purpose::Unasked), Verdict::Closed);
        assert_eq!(at(10_000_000, Purpose::Asked), Verdict::Closed);
        assert_eq!(
            Ledger::new(0.0, 99_000_000).reserve(Purpose::Unasked, 1),
            Verdict::Open
        );
    }

    proptest! {
        /// A month at any load never costs more than the limit and one answer.
        #[test]
        fn spending_passes_the_limit_by_less_than_one_answer(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 1_u64..500_000), 1..300),
        ) {
            const MOST: Micros = 500_000;
            let mut ledger = Ledger::new(5.0, 0);
            let mut running = 0_u64;
            for (begin, asked, cost) in steps {
                let purpose = if asked { Purpose::Asked } else { Purpose::Unasked };
                if begin && ledger.reserve(purpose, MOST) != Verdict::Closed {
                    running += 1;
                } else if running > 0 {
                    ledger.settle(MOST, cost);
                    running -= 1;
                }
                prop_assert!(ledger.spent() <= 5_000_000 + MOST);
            }
        }
    }
}
