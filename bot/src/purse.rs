//! Keeps the month's money: sets aside before an answer, pays after it, and tells the owner before it is gone.

use std::sync::{Arc, Mutex, PoisonError};

use daemon_kit::text::Text;
use jiff::tz::TimeZone;
use tokio::sync::watch;

use crate::budget::{self, Ledger, Verdict};
use crate::llm::{self, Choice, Completion, ModelName, Prompt, Usage};
use crate::owner::Owner;
use crate::prices::Micros;
use crate::prompt::prompt_tokens;
use crate::settings::Settings;
use crate::store::{self, Purpose, Spent, Store};

/// The money and the prices.
#[derive(Clone)]
pub struct Purse(Arc<Inner>);

struct Inner {
    month: Mutex<Month>,
    settings: watch::Receiver<Arc<Settings>>,
    models: llm::Config,
    zone: TimeZone,
    store: Store,
    owner: Owner,
}

struct Month {
    ledger: Ledger,
    /// `YYYY-MM`.
    name: String,
}

impl Month {
    /// What was spent in another month counts for nothing in this one.
    fn turn_to(&mut self, name: String) {
        if self.name != name {
            self.ledger.begin(0);
            self.name = name;
        }
    }
}

/// The month's money is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty;

/// Money set aside for one answer. Dropped, it is given back as long as no model was asked; afterwards it is spent.
pub struct Reserved {
    purse: Purse,
    most: Micros,
    /// What `most` was reckoned from.
    longest: Usage,
    /// What a model was asked for, once one was.
    asked_for: Option<Purpose>,
    is_settled: bool,
    channel: u64,
    prompt: Arc<Prompt>,
}

impl Purse {
    /// `limit_dollars` a month, with what the store says is spent of it. Prices are those of `settings` at any time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open(
        limit_dollars: f64,
        settings: watch::Receiver<Arc<Settings>>,
        models: llm::Config,
        zone: TimeZone,
        (store, owner): (Store, Owner),
    ) -> Result<Self, store::Error> {
        let name = month(&zone);
        let rows = store.usage_since(format!("{name}-01")).await?;
        let spent = rows.iter().map(|row| row.cost_micros).sum();
        let ledger = Ledger::new(limit_dollars, spent);
        Ok(Self(Arc::new(Inner {
            month: Mutex::new(Month { ledger, name }),
            settings,
            models,
            zone,
            store,
            owner,
        })))
    }

    /// Sets money aside for the answer to `prompt`, which somebody asked for.
    ///
    /// # Errors
    /// There is none left.
    pub fn reserve(&self, prompt: Prompt) -> Result<Reserved, Empty> {
        self.reserve_for(prompt, budget::Purpose::Asked)
    }

    /// The same for any purpose.
    ///
    /// # Errors
    /// There is none left.
    pub fn reserve_for(
        &self,
        mut prompt: Prompt,
        purpose: budget::Purpose,
    ) -> Result<Reserved, Empty> {
        let inner = &self.0;
        let longest = Usage {
            input_tokens: prompt_tokens(&prompt),
            output_tokens: u64::from(prompt.max_tokens.unwrap_or(inner.models.max_tokens)),
        };
        let most = self.price(&inner.models.model, longest);
        let verdict = self.with_month(|month| month.ledger.reserve(purpose, most));
        match verdict {
            Verdict::Open => {}
            Verdict::Warn(percent) => inner.owner.tell("budget:warn", warning(percent)),
            Verdict::Cheaper => {
                prompt.choice = Choice::Cheaper;
                inner.owner.tell("budget:cheaper", cheaper());
            }
            Verdict::Closed => {
                if purpose == budget::Purpose::Asked {
                    inner.owner.tell("budget:closed", closed());
                }
                return Err(Empty);
            }
        }
        Ok(Reserved {
            purse: self.clone(),
            most,
            longest,
            asked_for: None,
            is_settled: false,
            channel: 0,
            prompt: Arc::new(prompt),
        })
    }

    fn with_month<T>(&self, work: impl FnOnce(&mut Month) -> T) -> T {
        let name = month(&self.0.zone);
        let mut month = self.0.month.lock().unwrap_or_else(PoisonError::into_inner);
        month.turn_to(name);
        work(&mut month)
    }

    fn price(&self, model: &ModelName, usage: Usage) -> Micros {
        let cost = self
            .0
            .settings
            .borrow()
            .prices
            .cost(model, usage, self.0.models.is_free(model));
        if !cost.is_known {
            let name = model.to_string();
            self.0
                .owner
                .tell(format!("price:{name}"), unknown_price(&name));
        }
        cost.micros
    }

    async fn store(&self, bills: Vec<Spent>) {
        for bill in bills {
            if let Err(error) = self.0.store.spend(bill).await {
                tracing::warn!(event = "usage.not_stored", error = %error, "what a call cost could not be stored");
            }
        }
    }

    fn spent(&self, model: &str, usage: Usage, (purpose, channel): (Purpose, u64)) -> Spent {
        let known: Option<ModelName> = model.parse().ok();
        let day = daemon_kit::time::now()
            .to_zoned_datetime(self.0.zone.clone())
            .strftime("%Y-%m-%d")
            .to_string();
        Spent {
            day,
            model: model.to_owned(),
            purpose,
            channel,
            messages: 0,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_micros: known.map_or(0, |known| self.price(&known, usage)),
        }
    }
}

impl Reserved {
    /// For an answer in `channel` (of a thread, the one it hangs on). Direct messages are counted together, under 0.
    #[must_use]
    pub fn at(mut self, channel: u64) -> Self {
        self.channel = channel;
        self
    }

    /// What is to be asked, with a cheaper model when money is short. From now on it costs: whoever leaves without a word
    /// of what it took pays the most that it can have taken.
    #[must_use]
    pub fn ask(&mut self, purpose: Purpose) -> Arc<Prompt> {
        self.asked_for = Some(purpose);
        Arc::clone(&self.prompt)
    }

    /// Pays for `paid`. The first one's cost is returned, to be stored with its turn; the rest is stored here.
    pub async fn settle(mut self, paid: &[Completion], purpose: Purpose) -> Spent {
        let purse = self.purse.clone();
        let wasted = paid.iter().flat_map(|completion| {
            completion
                .wasted
                .iter()
                .map(|(model, usage)| (model, *usage))
        });
        let whole = paid
            .iter()
            .map(|completion| (&completion.model, completion.usage));
        let mut bills: Vec<Spent> = whole
            .chain(wasted)
            .map(|(model, usage)| purse.spent(model, usage, (purpose, self.channel)))
            .collect();
        self.close(bills.iter().map(|bill| bill.cost_micros).sum());
        let mut first = if bills.is_empty() {
            purse.spent("none/none", Usage::default(), (purpose, self.channel))
        } else {
            bills.remove(0)
        };
        first.messages = u64::from(purpose != Purpose::Judge);
        purse.store(bills).await;
        first
    }

    /// Pays for what broke off before there was an answer, which may be nothing; all of it is stored here.
    pub async fn settle_broken(mut self, wasted: &[(String, Usage)], purpose: Purpose) {
        let purse = self.purse.clone();
        let bills: Vec<Spent> = wasted
            .iter()
            .map(|(model, usage)| purse.spent(model, *usage, (purpose, self.channel)))
            .collect();
        self.close(bills.iter().map(|bill| bill.cost_micros).sum());
        purse.store(bills).await;
    }

    /// Gives the money back: nothing was taken.
    pub fn release(mut self) {
        self.close(0);
    }

    fn close(&mut self, cost: Micros) {
        self.is_settled = true;
        let most = self.most;
        self.purse
            .with_month(|month| month.ledger.settle(most, cost));
    }

    /// What the answer may have taken at most.
    fn at_most(&self, purpose: Purpose) -> Spent {
        let model = self.purse.0.models.model.to_string();
        let spent = (purpose, self.channel);
        Spent {
            cost_micros: self.most,
            ..self.purse.spent(&model, self.longest, spent)
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let Some(purpose) = self.asked_for else {
            self.close(0);
            return;
        };
        // Left in the middle, and nobody knows what it took: rather too much in the books than nothing.
        self.close(self.most);
        let (purse, bill) = (self.purse.clone(), self.at_most(purpose));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { purse.store(vec![bill]).await });
        }
    }
}

fn month(zone: &TimeZone) -> String {
    daemon_kit::time::now()
        .to_zoned_datetime(zone.clone())
        .strftime("%Y-%m")
        .to_string()
}

fn warning(percent: u8) -> Text {
    Text::new(
        format!("今月の予算 (MONTHLY_BUDGET) の {percent}% を使いました。このまま返事を続けます。"),
        format!("{percent}% of this month's budget (MONTHLY_BUDGET) is used. I go on answering."),
    )
}

fn cheaper() -> Text {
    Text::new(
        "今月の予算の 90% を使いました。ここからは LLM_FALLBACK_MODEL のモデルを先に使い、呼ばれていないときの発言は休みます。",
        "90% of this month's budget is used. From here on the models of LLM_FALLBACK_MODEL go first, and I do not speak unasked.",
    )
}

fn closed() -> Text {
    Text::new(
        "今月の予算を使い切りました。来月まで、呼ばれたらお休み中であることをやさしく伝えます。MONTHLY_BUDGET を増やして再起動すると再開します。",
        "This month's budget is used up. Until next month I kindly say that I am resting. Raise MONTHLY_BUDGET and restart me to go on.",
    )
}

fn unknown_price(model: &str) -> Text {
    Text::new(
        format!(
            "{model} の料金が分からないため、知っている中でいちばん高い料金で数えています。config/kotonoha.yaml の prices に料金を書いてください。"
        ),
        format!(
            "The price of {model} is not known, so it is counted as the dearest known. Please write its price under prices in config/kotonoha.yaml."
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon_kit::env::Env;
    use daemon_kit::text::Language;
    use secrecy::SecretString;

    use super::*;
    use crate::discord::Rest;
    use crate::llm::Stop;

    const MODEL: &str = "anthropic/claude-haiku-4-5";

    /// A purse without a limit, and what has to live as long.
    async fn purse() -> (Purse, Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (store, _closing) = Store::open(&folder.path().join("sessions.db")).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let rest = Rest::new(client, &SecretString::from("t"), "http://127.0.0.1:9");
        let (owner, _) = Owner::new(Arc::new(rest), store.clone(), Language::En, vec![1]);
        let settings = Settings::built_in(Language::En);
        let (_, settings) = watch::channel(Arc::new(settings));
        let models = llm::Config::read(&mut Env::from_map([
            ("LLM_MODEL", MODEL),
            ("ANTHROPIC_API_KEY", "sk-ant-x"),
        ]));
        let opened = Purse::open(0.0, settings, models, TimeZone::UTC, (store.clone(), owner));
        (opened.await.unwrap(), store, folder)
    }

    fn reserved(purse: &Purse) -> Reserved {
        purse.reserve(Prompt::default()).unwrap()
    }

    fn spent(purse: &Purse) -> Micros {
        purse.with_month(|month| month.ledger.spent())
    }

    /// What the store has, in calls and money, once there are `calls`.
    async fn stored(store: &Store, calls: u64) -> (u64, Micros) {
        for _ in 0..500 {
            let rows = store.usage_since("2000-01-01".to_owned()).await.unwrap();
            let found = rows.iter().map(|row| row.calls).sum::<u64>();
            if found == calls {
                return (found, rows.iter().map(|row| row.cost_micros).sum());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {calls} calls in the books");
    }

    #[tokio::test]
    async fn who_leaves_after_asking_pays_the_most_and_before_nothing() {
        let (purse, store, _folder) = purse().await;
        drop(reserved(&purse));
        assert_eq!(spent(&purse), 0);
        let mut asked = reserved(&purse);
        let most = asked.most;
        assert!(most > 0);
        drop(asked.ask(Purpose::Answer));
        drop(asked);
        assert_eq!(spent(&purse), most);
        assert_eq!(stored(&store, 1).await, (1, most));
    }

    #[tokio::test]
    async fn what_is_known_is_settled_to_the_token_and_a_refusal_costs_nothing() {
        let (purse, store, _folder) = purse().await;
        let mut refused = reserved(&purse);
        drop(refused.ask(Purpose::Answer));
        refused.settle_broken(&[], Purpose::Answer).await;
        let mut released = reserved(&purse);
        drop(released.ask(Purpose::Answer));
        released.release();
        assert_eq!(spent(&purse), 0);
        let usage = Usage {
            input_tokens: 10,
            output_tokens: 5,
        };
        let exact = purse.price(&MODEL.parse().unwrap(), usage);
        let mut broken = reserved(&purse);
        drop(broken.ask(Purpose::Answer));
        let wasted = [(MODEL.to_owned(), usage)];
        broken.settle_broken(&wasted, Purpose::Answer).await;
        assert_eq!(spent(&purse), exact);
        let mut answered = reserved(&purse);
        drop(answered.ask(Purpose::Answer));
        let answer = Completion {
            model: MODEL.to_owned(),
            text: "yes".to_owned(),
            usage,
            wasted: Vec::new(),
            stop: Stop::End,
        };
        let bill = answered.settle(&[answer], Purpose::Answer).await;
        assert_eq!((bill.cost_micros, spent(&purse)), (exact, 2 * exact));
        // The answer's own is stored with its turn.
        assert_eq!(stored(&store, 1).await, (1, exact));
    }

    #[test]
    fn a_new_month_begins_with_the_whole_of_its_money() {
        let mut month = Month {
            ledger: Ledger::new(1.0, 1_000_000),
            name: "2026-11".to_owned(),
        };
        let mut asked = |name: &str| {
            month.turn_to(name.to_owned());
            month.ledger.reserve(budget::Purpose::Asked, 1)
        };
        assert_eq!(asked("2026-11"), Verdict::Closed);
        assert_eq!(asked("2026-12"), Verdict::Open);
        assert_eq!(asked("2026-12"), Verdict::Open);
    }
}
