//! What every provider is told alike, what its stream is read into, and how its refusals are understood.

use std::time::Duration;

use serde_json::Value;

use super::{Error, Prompt, Role, Utterance};

/// How every provider calls who said something.
pub(super) fn role(utterance: &Utterance) -> &'static str {
    match utterance.role {
        Role::Member => "user",
        Role::Companion => "assistant",
    }
}

/// The persona and the date in one, for providers that have one place for both.
pub(super) fn system(prompt: &Prompt) -> Option<String> {
    let parts = [prompt.system.as_str(), prompt.dated.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// One piece of news from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// More text (reasoning in tags may be among it).
    Text(String),
    /// Tokens read so far.
    Input(u64),
    /// Tokens written so far.
    Output(u64),
    /// Why it ends.
    Halt(Halt),
    /// Nothing comes after this.
    Done,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    End,
    Length,
    Refused,
}

/// An attempt that failed, with what the server said about trying again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry_after: Option<Duration>,
    /// `x-should-retry`, which beats our own opinion.
    pub(super) should_retry: Option<bool>,
    /// Some models take no temperature, and say so.
    pub(super) dislikes_temperature: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let retry_after = match error {
            Error::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        Self {
            error,
            retry_after,
            should_retry: None,
            dislikes_temperature: false,
        }
    }
}

/// What an error answer means, from its status and body.
///
/// The three spending limits look different (a 429 with a code, a 402, a 400 with words) and are one thing to us.
pub(super) fn refusal(status: u16, body: &str, retry_after: Option<Duration>) -> Error {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    // Google wraps its error in an array.
    let body = body.get(0).cloned().unwrap_or(body);
    if is_spend_cap(status, &body) {
        return Error::SpendCap;
    }
    match status {
        401 | 403 => Error::Unauthorized,
        404 | 410 => Error::UnknownModel,
        408 | 504 => Error::TimedOut,
        413 => Error::TooLong,
        429 => Error::RateLimited { retry_after },
        503 | 529 => Error::Overloaded,
        500..=599 => Error::Failing { status },
        _ if is_too_long(&body) => Error::TooLong,
        _ if code(&body).contains("model_not_found") => Error::UnknownModel,
        _ if message(&body).contains("api key not valid") => Error::Unauthorized,
        _ => Error::Rejected { status },
    }
}

/// What an error event in the middle of a stream means.
pub(super) fn stream_error(body: &Value) -> Error {
    if is_spend_cap(429, body) {
        return Error::SpendCap;
    }
    match code(body).as_str() {
        code if code.contains("overloaded") || code.contains("unavailable") => Error::Overloaded,
        code if code.contains("rate_limit") => Error::RateLimited { retry_after: None },
        code if code.contains("authentication") || code.contains("permission") => {
            Error::Unauthorized
        }
        code if code.contains("not_found") => Error::UnknownModel,
        code if code.contains("timeout") => Error::TimedOut,
        _ if is_too_long(body) => Error::TooLong,
        _ => Error::Failing { status: 500 },
    }
}

fn is_spend_cap(status: u16, body: &Value) -> bool {
    let code = code(body);
    let message = message(body);
    match status {
        402 => true,
        429 => {
            code.contains("spend_limit")
                || code.contains("insufficient_quota")
                || code.contains("billing")
        }
        400 | 403 => {
            code.contains("spend_limit")
                || code.contains("billing")
                || message.contains("credit balance")
                || message.contains("usage limits")
                || message.contains("spend limit")
        }
        _ => false,
    }
}

fn is_too_long(body: &Value) -> bool {
    let message = message(body);
    code(body).contains("context_length")
        || message.contains("too long")
        || message.contains("context length")
        || message.contains("context window")
        || message.contains("maximum context")
}

/// Every machine-readable word about the error, in one string.
fn code(body: &Value) -> String {
    let error = body.get("error").unwrap_or(body);
    let details = error.get("details").unwrap_or(&Value::Null);
    [
        error.get("type"),
        error.get("code"),
        error.get("status"),
        details.get("error_code"),
    ]
    .into_iter()
    .flatten()
    .filter_map(Value::as_str)
    .collect::<Vec<_>>()
    .join(" ")
    .to_ascii_lowercase()
}

/// The sentence about the error: looked into, never shown, never logged.
fn message(body: &Value) -> String {
    let error = body.get("error").unwrap_or(body);
    let text = error
        .as_str()
        .or_else(|| error.get("message").and_then(Value::as_str));
    text.unwrap_or_default().to_ascii_lowercase()
}
