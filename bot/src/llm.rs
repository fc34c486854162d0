//! Language models: what is asked of them, what they answer, and every way in which they can fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

mod anthropic;
mod catalog;
mod chain;
mod config;
mod echo;
mod http;
mod name;
mod ollama;
mod openai;
mod sse;
mod thinking;
mod wire;

#[cfg(test)]
mod standin;
#[cfg(test)]
mod tests;

pub use catalog::{ModelFinding, Trouble};
pub use config::{Config, Endpoint};
pub use name::{ModelName, Provider};

/// Who said something in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A person.
    Member,
    /// We.
    Companion,
}

/// A picture that a member attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `image/png` and so on.
    pub media_type: String,
    /// Its bytes: there once, however often the prompt is copied.
    pub base64: Arc<str>,
}

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Utterance {
    /// By whom.
    pub role: Role,
    /// Never empty when sent: models refuse empty text.
    pub text: String,
    /// Shown to models that see, left out for the others.
    pub images: Vec<Image>,
}

impl Utterance {
    /// Words alone.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            images: Vec::new(),
        }
    }
}

/// Which model of the chain is to answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// The chain in its order.
    #[default]
    Usual,
    /// The fallbacks first: the month's money is nearly spent.
    Cheaper,
    /// This one first, then the chain.
    Named(ModelName),
    /// This one or none: its failure costs nothing but a silence.
    Only(ModelName),
}

/// All that a model is given for one answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// The persona: the same from turn to turn, so that it can be cached.
    pub system: String,
    /// What changes from turn to turn (the date): sent after `system`.
    pub dated: String,
    /// The conversation; the last one is the question.
    pub utterances: Vec<Utterance>,
    /// Length of the answer; `None` = the configured one.
    pub max_tokens: Option<u32>,
    /// Liveliness of the answer; `None` = the configured one.
    pub temperature: Option<f32>,
    /// Who is to answer.
    pub choice: Choice,
}

/// Tokens that were paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read by the model.
    pub input_tokens: u64,
    /// Written by the model.
    pub output_tokens: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was complete.
    End,
    /// It reached the length limit.
    Length,
    /// Whoever asked wanted no more of it: the text is what had come, perhaps nothing.
    Asked,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// `provider/model` that answered.
    pub model: String,
    /// What members may see: without reasoning.
    pub text: String,
    /// What it took.
    pub usage: Usage,
    /// Models that broke off on the way, and what they took: paid for all the same.
    pub wasted: Vec<(String, Usage)>,
    /// Why it ended.
    pub stop: Stop,
}

/// A piece of an answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More visible text.
    Text(String),
    /// All that was sent so far is void: another attempt begins.
    Restart,
}

/// How an answer failed to come. Never holds words of members, answers or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many requests at the moment.
    #[error("the model's rate limit is reached")]
    RateLimited {
        /// When the model asks to come back.
        retry_after: Option<Duration>,
    },
    /// The account's own money limit, or no money at all: no use in asking again.
    #[error("the model account's spending limit is reached")]
    SpendCap,
    /// The model is overloaded for everyone.
    #[error("the model is overloaded")]
    Overloaded,
    /// The model does not want to answer this.
    #[error("the model declined to answer")]
    Refused,
    /// The model answered with nothing.
    #[error("the model answered with nothing")]
    Empty,
    /// No model of this name, or a retired one.
    #[error("the model is unknown or retired")]
    UnknownModel,
    /// The key is missing, wrong or not allowed.
    #[error("the model refused the key")]
    Unauthorized,
    /// More than the model can read.
    #[error("the prompt is longer than the model can read")]
    TooLong,
    /// The model found the request wrong.
    #[error("the model rejected the request (HTTP {status})")]
    Rejected {
        /// Its answer.
        status: u16,
    },
    /// The model's own failure.
    #[error("the model failed (HTTP {status})")]
    Failing {
        /// Its answer.
        status: u16,
    },
    /// No connection.
    #[error("the model cannot be reached")]
    Unreachable,
    /// No word for too long.
    #[error("the model did not answer in time")]
    TimedOut,
    /// The answer broke off.
    #[error("the model's answer broke off")]
    Cut,
    /// The answer could not be understood.
    #[error("the model's answer could not be understood")]
    Malformed,
    /// Nobody waits for it any more.
    #[error("the answer was cancelled")]
    Cancelled,
}

/// Why no model answered, and what was taken for it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The failure to explain.
    pub error: Error,
    /// Models that broke off on the way: paid for, though nothing came of it.
    pub wasted: Vec<(String, Usage)>,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self {
            error,
            wasted: Vec::new(),
        }
    }
}

/// The models in the order in which they are asked.
pub struct Models {
    config: Config,
    client: reqwest::Client,
}

impl Models {
    /// `client` carries the connect timeout and the trusted roots; see [`CONNECT_TIMEOUT`].
    #[must_use]
    pub fn new(config: &Config, client: reqwest::Client) -> Self {
        Self {
            config: config.clone(),
            client,
        }
    }

    /// Asks the models in turn until one answers whole, and sends what may be shown into `deltas` as it comes.
    ///
    /// When `enough` ends first, the request is closed at once, no other model is asked, and what had come is the
    /// answer, with [`Stop::Asked`] and what it took. Dropping the future ends the request, and with it the cost. A
    /// closed `deltas` is no reason to stop.
    pub async fn complete_until(
        &self,
        prompt: &Prompt,
        deltas: mpsc::Sender<Delta>,
        enough: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Completion, Broken> {
        let call = (prompt, deltas, Box::pin(enough) as chain::Enough);
        chain::complete(&self.config, &self.client, call).await
    }

    /// The same without a listener and without an end.
    pub async fn ask(&self, prompt: &Prompt) -> Result<Completion, Broken> {
        let (deltas, _) = mpsc::channel(1);
        self.complete_until(prompt, deltas, std::future::pending())
            .await
    }

    /// The same, but not for longer than `within`: then what had come is the answer, with [`Stop::Asked`].
    pub async fn ask_within(
        &self,
        prompt: &Prompt,
        within: Duration,
    ) -> Result<Completion, Broken> {
        let (deltas, _) = mpsc::channel(1);
        self.complete_until(prompt, deltas, tokio::time::sleep(within))
            .await
    }

    /// Asks every provider which models it has, and names those of the chain, and the one `besides`, that are not among
    /// them.
    pub async fn check(&self, besides: Option<&ModelName>) -> Vec<ModelFinding> {
        catalog::check(&self.config, &self.client, besides).await
    }

    /// The settings these models came from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// How long a connection may take to be made: for the client that is passed in.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
