//! The chain: which model is asked, how often, after what pause, and when the next one is.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use daemon_kit::backoff::Backoff;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http::{self, Reader};
use super::thinking::{Shown, Thinking};
use super::wire::{Failure, Halt, Piece};
use super::{
    Broken, Choice, Completion, Config, Delta, Error, ModelName, Prompt, Provider, Stop, Usage,
};
use super::{anthropic, echo, ollama, openai};
use crate::prompt;

/// No answer is waited for longer than this, all attempts together.
const TOTAL: Duration = Duration::from_secs(590);
/// A model that asks for a longer pause than this is passed over.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest pause of our own.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// An answer longer than this is cut: no model means that.
const TEXT_LIMIT: usize = 256 * 1024;

/// Ends when whoever asked wants no more.
pub(super) type Enough = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Length and liveliness of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) max_tokens: u32,
    pub(super) temperature: Option<f32>,
}

pub(super) async fn complete(
    config: &Config,
    client: &reqwest::Client,
    (prompt, deltas, enough): (&Prompt, mpsc::Sender<Delta>, Enough),
) -> Result<Completion, Broken> {
    let mut chain = Chain {
        config,
        client,
        end: Instant::now() + TOTAL,
        enough,
        audience: Audience {
            deltas,
            shown: false,
        },
        wasted: Vec::new(),
    };
    let walked = timeout(TOTAL, chain.walk(prompt)).await;
    walked
        .unwrap_or(Err(Error::TimedOut))
        .map_err(|error| Broken {
            error,
            wasted: std::mem::take(&mut chain.wasted),
        })
}

/// The models in the order in which they are asked for this choice; each once.
pub(super) fn order(config: &Config, choice: &Choice) -> Vec<ModelName> {
    let usual = config.chain();
    let all: Vec<&ModelName> = match choice {
        Choice::Usual => usual.collect(),
        Choice::Cheaper => config
            .fallbacks
            .iter()
            .chain(std::iter::once(&config.model))
            .collect(),
        Choice::Named(name) => std::iter::once(name).chain(usual).collect(),
        Choice::Only(name) => vec![name],
    };
    let mut order: Vec<ModelName> = Vec::with_capacity(all.len());
    for name in all {
        if !order.contains(name) {
            order.push(name.clone());
        }
    }
    order
}

struct Chain<'a> {
    config: &'a Config,
    client: &'a reqwest::Client,
    /// Until when an answer is waited for.
    end: Instant,
    /// Asked no more once it has come: the walk is over then.
    enough: Enough,
    audience: Audience,
    wasted: Vec<(String, Usage)>,
}

impl Chain<'_> {
    async fn walk(&mut self, prompt: &Prompt) -> Result<Completion, Error> {
        let mut first_error = None;
        for model in order(self.config, &prompt.choice) {
            match self.ask(&model, prompt).await {
                Ok(mut completion) => {
                    completion.wasted = std::mem::take(&mut self.wasted);
                    return Ok(completion);
                }
                Err(Error::Cancelled) => return Ok(self.nothing(&model)),
                Err(error) => {
                    tracing::warn!(event = "model.failed", %model, %error, "the next model of the chain is asked");
                    first_error.get_or_insert(error);
                }
            }
        }
        // The first model is the one that the owner chose: its failure is the one to explain.
        Err(first_error.unwrap_or(Error::UnknownModel))
    }

    /// No more was wanted before a word had come. What broke off last is what is paid for.
    fn nothing(&mut self, model: &ModelName) -> Completion {
        let (model, usage) = self
            .wasted
            .pop()
            .unwrap_or_else(|| (model.to_string(), Usage::default()));
        Completion {
            model,
            text: String::new(),
            usage,
            wasted: std::mem::take(&mut self.wasted),
            stop: Stop::Asked,
        }
    }

    /// Asks one model until it answers or further asking is of no use.
    async fn ask(&mut self, model: &ModelName, prompt: &Prompt) -> Result<Completion, Error> {
        let mut prompt = Cow::Borrowed(prompt);
        let mut shape = Shape {
            max_tokens: prompt.max_tokens.unwrap_or(self.config.max_tokens),
            temperature: Some(prompt.temperature.unwrap_or(self.config.temperature)),
        };
        let mut tries = 0;
        loop {
            let failure = match self.attempt(model, &prompt, shape).await {
                Ok(completion) => return Ok(completion),
                Err(failure) => failure,
            };
            if amend(&failure, &mut prompt, &mut shape) {
                continue;
            }
            let Some(pause) = pause(&failure, tries, self.config, fastrand::f64()) else {
                return Err(failure.error);
            };
            tries += 1;
            let error = &failure.error;
            tracing::info!(event = "model.retried", %model, %error, tries, "the model is asked again after a pause");
            tokio::select! {
                biased;
                () = &mut self.enough => return Err(Error::Cancelled),
                () = sleep(pause) => {}
            }
        }
    }

    async fn attempt(
        &mut self,
        model: &ModelName,
        prompt: &Prompt,
        shape: Shape,
    ) -> Result<Completion, Failure> {
        let config = self.config;
        let endpoint = config.endpoint(model.provider);
        let mut gathered = Gathered::new(&mut self.audience);
        let (call, mut reader): (_, Box<dyn Reader>) = match model.provider {
            Provider::Anthropic => (
                anthropic::call(endpoint, &model.id, prompt, shape)?,
                Box::new(anthropic::Events),
            ),
            Provider::OpenAi | Provider::Gemini => {
                let call = openai::call(endpoint, model.provider, &model.id, prompt, shape)?;
                (call, Box::new(openai::Chunks))
            }
            Provider::Ollama => {
                let call = ollama::call(endpoint, &model.id, prompt, shape, config.context_tokens)?;
                (call, Box::new(ollama::Objects))
            }
            Provider::Echo => {
                gathered.take(echo::answer(prompt)).await?;
                return Ok(gathered.finish(model, prompt).await?);
            }
        };
        let outcome = tokio::select! {
            // Leaving the stream closes the connection, and with it ends the cost.
            biased;
            () = &mut self.enough => Err(Error::Cancelled.into()),
            // Seen here, so that what the stream has taken until now is known and paid for.
            () = sleep_until(self.end) => Err(Error::TimedOut.into()),
            outcome = http::stream(self.client, call, config.timeout, reader.as_mut(), &mut gathered) => outcome,
        };
        let spent = gathered.usage(prompt);
        let began = gathered.begun();
        let outcome = match outcome {
            Ok(()) => gathered.finish(model, prompt).await.map_err(Failure::from),
            Err(failure) if failure.error == Error::Cancelled && gathered.has_words() => {
                return Ok(gathered.left_off(model, spent));
            }
            Err(failure) => Err(failure),
        };
        if outcome.is_err() && began {
            self.wasted.push((model.to_string(), spent));
        }
        outcome
    }
}

/// Failures that another form of the same question mends; true when there is one left to try.
fn amend(failure: &Failure, prompt: &mut Cow<'_, Prompt>, shape: &mut Shape) -> bool {
    match failure.error {
        Error::TooLong => prompt::halve(prompt.to_mut()),
        Error::Rejected { .. } if failure.dislikes_temperature => {
            shape.temperature.take().is_some()
        }
        // Some models do not see, and say no more than that the request is wrong.
        Error::Rejected { .. } => prompt::blindfold(prompt.to_mut()),
        _ => false,
    }
}

/// How long to wait before the same model is asked again; `None` when that is of no use.
pub(super) fn pause(
    failure: &Failure,
    tries: u32,
    config: &Config,
    random: f64,
) -> Option<Duration> {
    let most = match failure.error {
        Error::RateLimited { .. }
        | Error::Overloaded
        | Error::Failing { .. }
        | Error::Unreachable
        | Error::Cut => config.max_retries,
        // Dear in time or money, and rarely better the second time.
        Error::TimedOut | Error::Malformed | Error::Empty => config.max_retries.min(1),
        _ => 0,
    };
    let most = match failure.should_retry {
        Some(false) => 0,
        Some(true) if failure.error != Error::SpendCap => config.max_retries,
        _ => most,
    };
    if tries >= most || failure.retry_after.is_some_and(|hint| hint > PATIENCE) {
        return None;
    }
    let backoff = Backoff {
        base: config.retry_base,
        max: LONGEST_PAUSE,
        jitter: 0.25,
    };
    Some(backoff.delay(tries, failure.retry_after, random))
}

/// Who listens, and whether anything was said to them.
pub(super) struct Audience {
    deltas: mpsc::Sender<Delta>,
    shown: bool,
}

impl Audience {
    async fn say(&mut self, text: String) {
        self.shown = true;
        self.send(Delta::Text(text)).await;
    }

    /// Takes back what an earlier attempt said.
    async fn take_back(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.send(Delta::Restart).await;
        }
    }

    async fn send(&mut self, delta: Delta) {
        // Nobody listening is fine: the whole answer is returned as well.
        drop(self.deltas.send(delta).await);
    }
}

/// An answer as far as it has come.
pub(super) struct Gathered<'a> {
    audience: &'a mut Audience,
    thinking: Thinking,
    text: String,
    raw_bytes: usize,
    raw_tokens: u64,
    input: Option<u64>,
    output: Option<u64>,
    halt: Option<Halt>,
    done: bool,
}

impl<'a> Gathered<'a> {
    fn new(audience: &'a mut Audience) -> Self {
        Self {
            audience,
            thinking: Thinking::default(),
            text: String::new(),
            raw_bytes: 0,
            raw_tokens: 0,
            input: None,
            output: None,
            halt: None,
            done: false,
        }
    }

    /// News from the stream.
    pub(super) async fn take(&mut self, pieces: Vec<Piece>) -> Result<(), Failure> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.raw_bytes += text.len();
                    self.raw_tokens += prompt::estimate_tokens(&text);
                    let shown = self.thinking.feed(&text);
                    self.show(shown).await;
                    if self.raw_bytes > TEXT_LIMIT {
                        self.halt = Some(Halt::Length);
                        self.done = true;
                    }
                }
                Piece::Input(tokens) => self.input = Some(tokens),
                Piece::Output(tokens) => self.output = Some(tokens),
                Piece::Halt(Halt::Refused) => return Err(Error::Refused.into()),
                Piece::Halt(halt) => self.halt = Some(halt),
                Piece::Done => self.done = true,
            }
        }
        Ok(())
    }

    /// Nothing more is wanted from the stream.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The stream ended by itself: was that the end of the answer?
    pub(super) fn ended(&self) -> Result<(), Error> {
        match self.halt {
            // Some servers give the reason and then simply close.
            Some(_) => Ok(()),
            None if self.begun() => Err(Error::Cut),
            None => Err(Error::Malformed),
        }
    }

    fn begun(&self) -> bool {
        self.raw_bytes > 0 || self.input.is_some()
    }

    /// What the provider counted, or our estimate where it did not come to that.
    fn usage(&self, prompt: &Prompt) -> Usage {
        let whole = self.done || self.halt.is_some();
        let output_tokens = match self.output {
            Some(tokens) if whole => tokens,
            // The first count is a placeholder.
            counted => self.raw_tokens.max(counted.unwrap_or(0)),
        };
        let input_tokens = self.input.unwrap_or_else(|| prompt::prompt_tokens(prompt));
        Usage {
            input_tokens,
            output_tokens,
        }
    }

    fn has_words(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// The answer as far as it had come when no more was wanted.
    fn left_off(self, model: &ModelName, usage: Usage) -> Completion {
        Completion {
            model: model.to_string(),
            text: self.text,
            usage,
            wasted: Vec::new(),
            stop: Stop::Asked,
        }
    }

    async fn show(&mut self, shown: Vec<Shown>) {
        for shown in shown {
            match shown {
                Shown::Void => {
                    self.text.clear();
                    self.audience.take_back().await;
                }
                Shown::Text(text) => {
                    if self.text.is_empty() {
                        self.audience.take_back().await;
                    }
                    self.text.push_str(&text);
                    self.audience.say(text).await;
                }
            }
        }
    }

    async fn finish(mut self, model: &ModelName, prompt: &Prompt) -> Result<Completion, Error> {
        let rest = self.thinking.finish();
        self.show(rest).await;
        if self.text.trim().is_empty() {
            return Err(Error::Empty);
        }
        let usage = self.usage(prompt);
        let stop = if self.halt == Some(Halt::Length) {
            Stop::Length
        } else {
            Stop::End
        };
        Ok(Completion {
            model: model.to_string(),
            text: self.text,
            usage,
            wasted: Vec::new(),
            stop,
        })
    }
}
