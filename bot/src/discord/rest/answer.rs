//! What Discord's refusals mean.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

/// How a call failed. Never holds what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The token is not (or no longer) valid.
    #[error("Discord rejected the token")]
    Unauthorized,
    /// We may not do that there.
    #[error("Discord refused: missing permission (code {0})")]
    Forbidden(u64),
    /// The channel, message or thread is not there (any more).
    #[error("Discord does not know it (code {0})")]
    NotFound(u64),
    /// A thread stands on this message already.
    #[error("there is a thread already")]
    ThreadExists,
    /// Discord finds the request wrong.
    #[error("Discord rejected the request (HTTP {status}, code {code})")]
    Rejected {
        /// HTTP.
        status: u16,
        /// Discord's own number.
        code: u64,
    },
    /// We are to wait, longer than a turn can.
    #[error("Discord asks to wait {} s", .0.as_secs())]
    RateLimited(Duration),
    /// Discord's own failure.
    #[error("Discord failed (HTTP {0})")]
    Failing(u16),
    /// It was carried out, but the answer cannot be read.
    #[error("Discord's answer could not be read")]
    Unreadable,
    /// No answer in time.
    #[error("Discord did not answer in time")]
    TimedOut,
    /// No connection.
    #[error("Discord cannot be reached")]
    Unreachable,
}

impl Error {
    /// Whether it will be the same however often it is tried: nobody lets us, or it is gone.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Forbidden(_) | Self::NotFound(_) | Self::Unauthorized | Self::Rejected { .. }
        )
    }
}

const THREAD_EXISTS: u64 = 160_004;

/// How long a 429 asks to wait, and whether everything has to.
pub(super) async fn pause(response: Response) -> (Duration, bool) {
    let headers = response.headers();
    let is_global = headers.contains_key("x-ratelimit-global");
    let told: Option<f64> = headers
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let body: Value = response.json().await.unwrap_or_default();
    // The body is finer than the header, which rounds to seconds.
    let seconds = body["retry_after"]
        .as_f64()
        .or(told)
        .unwrap_or(1.0)
        .clamp(0.05, 86_400.0);
    (
        Duration::from_secs_f64(seconds),
        is_global || body["global"].as_bool().unwrap_or(false),
    )
}

/// What an answer that is neither success nor failure means.
pub(super) async fn refusal(response: Response) -> Error {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap_or_default();
    let code = body["code"].as_u64().unwrap_or(0);
    match (status, code) {
        (_, THREAD_EXISTS) => Error::ThreadExists,
        (401, _) => Error::Unauthorized,
        (403, _) => Error::Forbidden(code),
        (404, _) => Error::NotFound(code),
        _ => Error::Rejected { status, code },
    }
}
