//! The scripted models: Anthropic, OpenAI-compatible and Ollama skins over one script of what to say or how to fail.

mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::state::Shared;
use wire::Step;

/// What a model does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says this.
    Say(String),
    /// Says these pieces, one chunk each.
    Pieces(Vec<String>),
    /// Says `こたえ「…」` around the last thing the member said.
    Echo,
    /// Says the first text, waits until the gate opens, then says the second.
    Hold(String, String),
    /// Accepts the request and never says anything.
    Stall,
    /// Says this, then nothing more, for ever.
    StallAfter(String),
    /// Says this, then the connection breaks.
    CutAfter(String),
    /// Says this, then sends an error in the middle of the stream.
    ErrorAfter(String),
    /// Answers with a status, in the provider's error form.
    Status(u16),
    /// Answers with 429 and `retry-after`.
    RetryAfter(f64),
    /// A 429 that is a spend cap: no `retry-after`, must not be retried.
    SpendCap,
    /// A well-formed answer without words.
    Empty,
    /// Declines, in the provider's form.
    Refuse,
    /// Says this and stops because of the length.
    Length(String),
    /// 200 with something that is not the protocol.
    Garbage,
    /// Waits, then does the other.
    Slow(Duration, Box<Act>),
}

/// Whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skin {
    /// `/v1/messages`.
    Anthropic,
    /// `/chat/completions`.
    OpenAi,
    /// `/api/chat`.
    Ollama,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The first path segment: `anthropic`, `openai`, `gemini`, `ollama`.
    pub provider: String,
    /// The whole path.
    pub path: String,
    /// The model asked for.
    pub model: String,
    /// The body, as text.
    pub raw: Arc<str>,
    /// Whether it wants its answer in pieces; `None` when it does not say.
    streaming: Option<bool>,
    /// How many messages it sent.
    messages: usize,
    /// The last thing a member said.
    last: String,
    /// The key it carried.
    pub key: String,
    /// When.
    pub at: Instant,
    /// When the asker went away, if that was before the end.
    pub abandoned: Option<Instant>,
}

impl Asked {
    /// Everything that was sent as conversation: role and text.
    #[must_use]
    pub fn said(&self) -> Vec<(String, String)> {
        let messages = Sent::read(&self.raw).messages.into_iter();
        messages
            .map(|message| (message.role, words(&message.content)))
            .collect()
    }

    /// The last thing a member said.
    #[must_use]
    pub fn last(&self) -> String {
        self.last.clone()
    }

    /// The system prompt.
    #[must_use]
    pub fn system(&self) -> String {
        let own = words(&Sent::read(&self.raw).system);
        if own.is_empty() {
            self.said()
                .into_iter()
                .filter(|(role, _)| role == "system")
                .map(|(_, text)| text)
                .collect()
        } else {
            own
        }
    }
}

/// What is read of a body. A long conversation is thousands of messages, and a bench waits for us meanwhile: a request
/// is read once, and again only for a test that asks for its words.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sent {
    model: String,
    stream: Option<bool>,
    system: Value,
    messages: Vec<SentMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SentMessage {
    role: String,
    content: Value,
}

impl Sent {
    fn read(body: &str) -> Self {
        serde_json::from_str(body).unwrap_or_default()
    }
}

fn words(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

type When = Box<dyn Fn(&Asked) -> bool + Send>;

struct Rule {
    when: When,
    act: Act,
    left: usize,
}

/// The script, and what was asked.
#[derive(Default)]
pub struct ModelState {
    rules: Vec<Rule>,
    /// Every request, in order.
    pub asked: Vec<Asked>,
    /// Model names that `/v1/models` does not list and that answer 404.
    pub retired: Vec<String>,
    /// How often a list of models was asked for.
    pub lists: usize,
    /// When set, every other key is refused.
    pub accepted_key: Option<String>,
}

impl ModelState {
    /// Scripts an act for the next `times` requests that fit; rules are asked in order.
    pub fn script(
        &mut self,
        times: usize,
        when: impl Fn(&Asked) -> bool + Send + 'static,
        act: Act,
    ) {
        self.rules.push(Rule {
            when: Box::new(when),
            act,
            left: times,
        });
    }

    /// Forgets the script.
    pub fn heal(&mut self) {
        self.rules.clear();
    }

    fn accepts(&self, asked: &Asked) -> bool {
        self.accepted_key
            .as_ref()
            .is_none_or(|key| *key == asked.key)
    }

    fn choose(&mut self, asked: &Asked) -> Act {
        if !self.accepts(asked) {
            return Act::Status(401);
        }
        if self.retired.contains(&asked.model) {
            return Act::Status(404);
        }
        match self
            .rules
            .iter_mut()
            .find(|rule| rule.left > 0 && (rule.when)(asked))
        {
            Some(rule) => {
                rule.left -= 1;
                rule.act.clone()
            }
            None => Act::Echo,
        }
    }
}

/// What the model answers by itself: proof that it got the words.
#[must_use]
pub fn echo(last: &str) -> String {
    let line = last
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    format!("こたえ「{}」", line.trim())
}

/// Serves `/{provider}/**`.
pub(crate) async fn serve(
    world: Arc<Shared>,
    path: String,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let skin = if path.ends_with("/messages") {
        Skin::Anthropic
    } else if path.ends_with("/chat/completions") {
        Skin::OpenAi
    } else if path.ends_with("/api/chat") {
        Skin::Ollama
    } else {
        let asked = read(&path, &headers, &body);
        if !world.with(|state| state.model.accepts(&asked)) {
            return (StatusCode::UNAUTHORIZED, axum::Json(json!({"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}))).into_response();
        }
        return list(&world, &path);
    };
    let asked = read(&path, &headers, &body);
    let streaming = asked.streaming.unwrap_or(skin == Skin::Ollama);
    let (number, act) = world.with(|state| {
        let act = state.model.choose(&asked);
        state.tell(format!(
            "model {} asked ({} messages): {act:?}",
            asked.model, asked.messages
        ));
        state.model.asked.push(asked.clone());
        (state.model.asked.len() - 1, act)
    });
    let act = match act {
        Act::Slow(time, then) => {
            tokio::time::sleep(time).await;
            *then
        }
        other => other,
    };
    if let Some(refusal) = wire::status(skin, &act, &asked.model) {
        return refusal;
    }
    let steps = wire::steps(skin, &act, &asked, streaming);
    let kind = match (streaming, skin) {
        (true, Skin::Ollama) => "application/x-ndjson",
        (true, _) => "text/event-stream",
        (false, _) => "application/json",
    };
    (
        StatusCode::OK,
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        stream(world, number, steps),
    )
        .into_response()
}

fn read(path: &str, headers: &HeaderMap, body: &Bytes) -> Asked {
    let raw = String::from_utf8_lossy(body);
    let sent = Sent::read(&raw);
    let last = sent.messages.iter().rfind(|message| message.role == "user");
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let bearer = text("authorization");
    Asked {
        provider: path
            .split('/')
            .find(|part| !part.is_empty())
            .unwrap_or_default()
            .to_owned(),
        path: path.to_owned(),
        streaming: sent.stream,
        messages: sent.messages.len(),
        last: last.map_or_else(String::new, |message| words(&message.content)),
        model: sent.model,
        raw: raw.into(),
        key: if bearer.is_empty() {
            text("x-api-key")
        } else {
            bearer.trim_start_matches("Bearer ").to_owned()
        },
        at: Instant::now(),
        abandoned: None,
    }
}

fn stream(world: Arc<Shared>, number: usize, steps: Vec<Step>) -> Body {
    let (pipe, chunks) = mpsc::channel::<Result<Bytes, std::io::Error>>(16);
    tokio::spawn(async move {
        let mut gate = world.gate.subscribe();
        for step in steps {
            let open = match step {
                Step::Send(text) => pipe.send(Ok(Bytes::from(text))).await.is_ok(),
                Step::Cut => pipe
                    .send(Err(std::io::Error::other("scripted cut")))
                    .await
                    .is_ok(),
                Step::Gate => tokio::select! {
                    passed = gate.wait_for(|open| *open) => passed.is_ok(),
                    () = pipe.closed() => false,
                },
                Step::Forever => {
                    pipe.closed().await;
                    false
                }
            };
            if !open {
                world.with(|state| state.model.asked[number].abandoned = Some(Instant::now()));
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::unfold(
        chunks,
        |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) },
    ))
}

/// `/v1/models`, `/api/tags`, `/api/show`: every model but the retired ones.
fn list(world: &Shared, path: &str) -> Response {
    let known = world.with(|state| {
        state.model.lists += 1;
        state.tell(format!("model list: {path}"));
        let all = [
            "claude-haiku-4-5",
            "claude-sonnet-4-5",
            "claude-opus-4-5",
            "gpt-5-mini",
            "gemini-3.5-flash",
            "llama3.2",
            "fallback-1",
            "fallback-2",
        ];
        all.into_iter()
            .filter(|name| !state.model.retired.iter().any(|gone| gone == name))
            .collect::<Vec<_>>()
    });
    if path.contains("/api/") {
        let models: Vec<Value> = known
            .iter()
            .map(
                |name| json!({"name": format!("{name}:latest"), "model": format!("{name}:latest")}),
            )
            .collect();
        return axum::Json(json!({ "models": models })).into_response();
    }
    // `/models/{id}` answers for one.
    if let Some((_, one)) = path.rsplit_once("/models/") {
        return if known.contains(&one) {
            axum::Json(json!({"type": "model", "id": one, "object": "model"})).into_response()
        } else {
            (StatusCode::NOT_FOUND, axum::Json(json!({"type": "error", "error": {"type": "not_found_error", "message": "model"}}))).into_response()
        };
    }
    let data: Vec<Value> = known.iter().map(|name| json!({"type": "model", "object": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"})).collect();
    axum::Json(json!({"object": "list", "data": data, "has_more": false, "first_id": null, "last_id": null})).into_response()
}
