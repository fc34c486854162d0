//! The REST skin: one table from method and path to what it does, with scripted faults in front.

mod interactions;
pub(crate) mod messages;
mod routes;
mod threads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::discord::{self, Id, permission};
use super::state::{Shared, State};

/// What a scripted REST fault does.
#[derive(Clone, Debug)]
pub enum RestAct {
    /// Answers with this status and Discord code; nothing is carried out.
    Refuse(u16, u64),
    /// 429 with these seconds, for this route or for all.
    TooMany {
        /// `retry_after`.
        seconds: f64,
        /// Whether it is the global limit.
        global: bool,
    },
    /// Carries it out after a while.
    Slow(Duration),
    /// Carries it out, then answers with something unreadable.
    LostAnswer,
    /// Carries it out, then answers 502.
    LostTo502,
    /// Never answers, carries nothing out.
    Hang,
}

struct Fault {
    route: String,
    act: RestAct,
    left: usize,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// `METHOD /path` without the `/api/v10` and the query.
    pub what: String,
    /// The body.
    pub body: Value,
    /// When.
    pub at: Instant,
    /// The status of the answer.
    pub status: u16,
}

/// Faults to come and calls that came.
#[derive(Default)]
pub struct RestState {
    faults: Vec<Fault>,
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// Requests sent to a route that was still blocked by an earlier 429.
    pub early: usize,
    blocked: Vec<(String, Instant)>,
}

impl RestState {
    /// Scripts a fault for the next `times` calls of a route such as `POST /channels/*/messages`.
    pub fn fault(&mut self, route: &str, act: RestAct, times: usize) {
        self.faults.push(Fault {
            route: route.to_owned(),
            act,
            left: times,
        });
    }

    /// Takes every scripted fault back.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    fn next(&mut self, what: &str) -> Option<RestAct> {
        let now = Instant::now();
        self.blocked.retain(|(_, until)| *until > now);
        // The first sign to an interaction is bound by no limit of the bot's.
        let is_bound = !what.starts_with("POST /interactions/");
        if is_bound && self.blocked.iter().any(|(route, _)| matches(route, what)) {
            self.early += 1;
        }
        let at = self
            .faults
            .iter()
            .position(|fault| fault.left > 0 && matches(&fault.route, what))?;
        self.faults[at].left -= 1;
        let act = self.faults[at].act.clone();
        if let RestAct::TooMany { seconds, global } = &act {
            let route = if *global {
                "* /**".to_owned()
            } else {
                what.to_owned()
            };
            self.blocked
                .push((route, now + Duration::from_secs_f64(seconds * 0.95)));
        }
        Some(act)
    }
}

/// Whether `POST /channels/1/messages` is a `POST /channels/*/messages`; `**` stands for the whole rest.
#[must_use]
pub fn matches(route: &str, what: &str) -> bool {
    let mut given = what.split([' ', '/']).filter(|part| !part.is_empty());
    let mut asked = route.split([' ', '/']).filter(|part| !part.is_empty());
    loop {
        match (asked.next(), given.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(left), Some(right)) if left == right => {}
            _ => return false,
        }
    }
}

/// What a route gives back: a status and a body.
pub(crate) type Outcome = Result<Value, Refusal>;

/// A refusal in Discord's form.
pub(crate) struct Refusal {
    status: u16,
    code: u64,
    why: String,
}

pub(crate) fn refuse(status: u16, code: u64, why: &str) -> Refusal {
    Refusal {
        status,
        code,
        why: why.to_owned(),
    }
}

pub(crate) struct Ask<'a> {
    pub(crate) host: &'a str,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a Value,
}

impl Ask<'_> {
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.query
            .iter()
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok())
    }
}

/// Serves `/api/v10/**`.
pub(crate) async fn serve(
    world: Arc<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri
        .path()
        .strip_prefix("/api/v10")
        .or_else(|| uri.path().strip_prefix("/api/v9"))
        .unwrap_or_else(|| uri.path())
        .to_owned();
    let what = format!("{method} {path}");
    let body = read_body(&headers, &body);
    let (number, act) = world.with(|state| {
        state.rest.calls.push(Call {
            what: what.clone(),
            body: body.clone(),
            at: Instant::now(),
            status: 0,
        });
        (state.rest.calls.len() - 1, state.rest.next(&what))
    });
    match &act {
        Some(RestAct::Hang) => std::future::pending::<()>().await,
        Some(RestAct::Slow(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let (status, answer) = act.as_ref().and_then(scripted).unwrap_or_else(|| {
        world.with(|state| carry_out(state, &what, &path, &uri, &headers, &body))
    });
    let now_ms = world.with(|state| {
        state.rest.calls[number].status = status;
        if status >= 400 {
            state.tell(format!("REST {what} -> {status} {}", answer["message"]));
        } else if !what.ends_with("/typing") {
            state.tell(format!("REST {what} -> {status}"));
        }
        state.now_ms()
    });
    let mut response = dress(act.as_ref(), status, &answer);
    if let Ok(date) = discord::http_date(now_ms).parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// The answer of an act that carries nothing out.
fn scripted(act: &RestAct) -> Option<(u16, Value)> {
    match act {
        RestAct::Refuse(status, code) => {
            Some((*status, json!({"message": "scripted", "code": code})))
        }
        RestAct::TooMany { seconds, global } => Some((
            429,
            json!({"message": "You are being rate limited.", "retry_after": seconds, "global": global}),
        )),
        _ => None,
    }
}

/// The answer as it goes out: lost on the way, or with the headers of a limit.
fn dress(act: Option<&RestAct>, status: u16, answer: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    match act {
        Some(RestAct::LostAnswer) => (StatusCode::OK, json, "{\"id\":").into_response(),
        Some(RestAct::LostTo502) => {
            (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response()
        }
        Some(RestAct::TooMany { seconds, global }) => {
            let mut response = reply(429, answer);
            let headers = response.headers_mut();
            if let Ok(value) = seconds.ceil().to_string().parse() {
                headers.insert("retry-after", value);
            }
            headers.insert(
                "x-ratelimit-scope",
                HeaderValue::from_static(if *global { "global" } else { "user" }),
            );
            if *global {
                headers.insert("x-ratelimit-global", HeaderValue::from_static("true"));
            }
            response
        }
        _ => reply(status, answer),
    }
}

fn reply(status: u16, answer: &Value) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == 204 {
        return code.into_response();
    }
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        answer.to_string(),
    )
        .into_response()
}

/// JSON as it is; of a form with files the `payload_json` part, with the files' names.
fn read_body(headers: &HeaderMap, body: &Bytes) -> Value {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Some((_, boundary)) = kind.split_once("boundary=") {
        let text = String::from_utf8_lossy(body);
        let mut value = Value::Null;
        let mut files = Vec::new();
        for part in text.split(&format!("--{}", boundary.trim_matches('"'))) {
            let Some((head, content)) = part.split_once("\r\n\r\n") else {
                continue;
            };
            if head.contains("payload_json") {
                value = serde_json::from_str(content.trim_end()).unwrap_or(Value::Null);
            } else if let Some((_, name)) = head.split_once("filename=\"") {
                files.push(json!({"filename": name.split('"').next(), "content": content.trim_end_matches("\r\n")}));
            }
        }
        if !files.is_empty() && value.is_object() {
            value["__files"] = json!(files);
        }
        return value;
    }
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

fn carry_out(
    state: &mut State,
    what: &str,
    path: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Value,
) -> (u16, Value) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let method = what.split(' ').next().unwrap_or_default();
    let open = matches!(
        parts.as_slice(),
        ["gateway"] | ["interactions" | "webhooks", ..]
    );
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !open && given.strip_prefix("Bot ").unwrap_or(given) != state.token {
        return (401, json!({"message": "401: Unauthorized", "code": 0}));
    }
    let query = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    host.clone_into(&mut state.host);
    let outcome = routes::route(state, method, &parts, &Ask { host, query, body });
    match outcome {
        Ok(Value::Null) => (204, Value::Null),
        Ok(value) => (
            if method == "POST" && parts.last() == Some(&"threads") {
                201
            } else {
                200
            },
            value,
        ),
        Err(refusal) => {
            // A mistake in form is the bot's own; missing permissions and vanished things are the world's doing.
            if refusal.status == 400 && !matches!(refusal.code, 160_004 | 50_007) {
                state.violation(format!("{what}: {} ({})", refusal.why, refusal.code));
            }
            (
                refusal.status,
                json!({"message": refusal.why, "code": refusal.code}),
            )
        }
    }
}

pub(crate) fn channel_of(state: &State, id: Id) -> Result<discord::Channel, Refusal> {
    state
        .channels
        .get(&id)
        .cloned()
        .ok_or_else(|| refuse(404, 10_003, "Unknown Channel"))
}

/// The channel, when the bot may see it.
pub(crate) fn seen(state: &State, id: Id) -> Result<discord::Channel, Refusal> {
    let place = channel_of(state, id)?;
    if state.allowed(&place) & permission::VIEW == 0 {
        Err(refuse(403, 50_001, "Missing Access"))
    } else {
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn routes_match_by_segments() {
        assert!(matches(
            "POST /channels/*/messages",
            "POST /channels/1/messages"
        ));
        assert!(!matches(
            "POST /channels/*/messages",
            "POST /channels/1/messages/2/threads"
        ));
        assert!(!matches(
            "POST /channels/*/messages",
            "GET /channels/1/messages"
        ));
        assert!(matches("* /**", "GET /channels/1/messages"));
    }
}
