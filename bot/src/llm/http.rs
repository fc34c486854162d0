//! One request to a model: sent, its refusal understood, its stream read within bounds.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::Error;
use super::chain::Gathered;
use super::sse::{Events, Lines};
use super::wire::{Failure, Piece, refusal};

/// More of an error body than this tells nothing new.
const REFUSAL_LIMIT: usize = 64 * 1024;
/// A whole answer, or a list of models, that is longer is not read.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// What is sent.
pub(super) struct Call {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl Call {
    /// Written straight from what is borrowed: a conversation with pictures is not copied into a tree first.
    pub(super) fn new(
        url: String,
        headers: Vec<(&'static str, String)>,
        body: &impl Serialize,
    ) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|_| Error::Malformed)?;
        Ok(Self { url, headers, body })
    }
}

/// How a provider cuts its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events.
    Events,
    /// One object a line.
    Lines,
}

/// Understands one provider's stream.
pub(super) trait Reader: Send {
    fn framing(&self) -> Framing;
    /// One event's data, or one line.
    fn read(&mut self, data: &str) -> Result<Vec<Piece>, Failure>;
    /// A plain answer, from a server that does not stream.
    fn whole(&mut self, body: &Value) -> Result<Vec<Piece>, Failure>;
}

/// Sends `call` and gathers the answer; `idle` is how long no byte may come.
pub(super) async fn stream(
    client: &reqwest::Client,
    call: Call,
    idle: Duration,
    reader: &mut dyn Reader,
    gathered: &mut Gathered<'_>,
) -> Result<(), Failure> {
    let request = client.post(&call.url).body(call.body);
    let mut request = request.header(CONTENT_TYPE, "application/json");
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let response = send(request, idle).await?;
    if is_json(response.headers()) && reader.framing() == Framing::Events {
        let body = body(response, BODY_LIMIT, idle).await?;
        let body: Value = serde_json::from_str(&body).map_err(|_| Error::Malformed)?;
        return gathered.take(reader.whole(&body)?).await;
    }
    read(response, idle, reader, gathered).await
}

async fn read(
    mut response: reqwest::Response,
    idle: Duration,
    reader: &mut dyn Reader,
    gathered: &mut Gathered<'_>,
) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let mut events = Events::default();
    let framing = reader.framing();
    while !gathered.is_done() {
        match timeout(idle, response.chunk()).await {
            Err(_) => return Err(Error::TimedOut.into()),
            Ok(Err(_)) => return Err(Error::Cut.into()),
            Ok(Ok(Some(bytes))) => lines.push(&bytes)?,
            Ok(Ok(None)) => break,
        }
        while let Some(line) = lines.next() {
            if let Some(data) = framed(framing, &mut events, line) {
                gathered.take(reader.read(&data)?).await?;
            }
        }
    }
    if gathered.is_done() {
        return Ok(());
    }
    // The last line may lack its end.
    let last = lines
        .rest()
        .and_then(|line| framed(framing, &mut events, line));
    for data in last.into_iter().chain(events.rest()) {
        gathered.take(reader.read(&data)?).await?;
    }
    gathered.ended().map_err(Failure::from)
}

fn framed(framing: Framing, events: &mut Events, line: String) -> Option<String> {
    match framing {
        Framing::Events => events.line(&line),
        Framing::Lines => (!line.trim().is_empty()).then_some(line),
    }
}

/// Sends, and turns every refusal into its meaning.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    idle: Duration,
) -> Result<reqwest::Response, Failure> {
    let response = match timeout(idle, request.send()).await {
        Err(_) => return Err(Error::TimedOut.into()),
        // A key with a line break inside cannot become a header.
        Ok(Err(error)) if error.is_builder() => return Err(Error::Unauthorized.into()),
        Ok(Err(error)) if error.is_timeout() && !error.is_connect() => {
            return Err(Error::TimedOut.into());
        }
        Ok(Err(_)) => return Err(Error::Unreachable.into()),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers());
    let should_retry = match response
        .headers()
        .get("x-should-retry")
        .map(HeaderValue::as_bytes)
    {
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        _ => None,
    };
    let body = body(response, REFUSAL_LIMIT, idle)
        .await
        .unwrap_or_default();
    let mut failure = Failure::from(refusal(status.as_u16(), &body, retry_after));
    failure.retry_after = retry_after;
    failure.should_retry = should_retry;
    failure.dislikes_temperature = status.as_u16() == 400 && body.contains("temperature");
    Err(failure)
}

/// Reads a body no further than `limit`.
pub(super) async fn body(
    mut response: reqwest::Response,
    limit: usize,
    idle: Duration,
) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    loop {
        match timeout(idle, response.chunk()).await {
            Err(_) => return Err(Error::TimedOut.into()),
            Ok(Err(_)) => return Err(Error::Cut.into()),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(chunk))) if bytes.len() + chunk.len() > limit => {
                return Err(Error::Malformed.into());
            }
            Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The whole of a small JSON answer.
pub(super) async fn json(
    request: reqwest::RequestBuilder,
    idle: Duration,
) -> Result<Value, Failure> {
    let response = send(request, idle).await?;
    let body = body(response, BODY_LIMIT, idle).await?;
    Ok(serde_json::from_str(&body).map_err(|_| Error::Malformed)?)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    kind.starts_with("application/json")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str, unit: f64| {
        let value: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(value * unit).ok()
    };
    number("retry-after-ms", 0.001).or_else(|| number("retry-after", 1.0))
}
