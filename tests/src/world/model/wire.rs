//! How each provider writes an answer, a refusal and a failure on the wire.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Act, Asked, Skin, echo};

/// One step of an answer.
pub(super) enum Step {
    /// These bytes.
    Send(String),
    /// Wait until the gate opens.
    Gate,
    /// Nothing more, for ever.
    Forever,
    /// The connection breaks.
    Cut,
}

/// Answers that are a bare status.
pub(super) fn status(skin: Skin, act: &Act, model: &str) -> Option<Response> {
    let (code, after, detail) = match act {
        Act::Status(code) => (*code, None, Value::Null),
        Act::RetryAfter(seconds) => (429, Some(*seconds), Value::Null),
        Act::SpendCap => (
            429,
            None,
            json!({"error_code": "enforced_spend_limit_reached"}),
        ),
        _ => return None,
    };
    let kind = match code {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let text = format!("scripted {code} SECRET-RAW-ERROR for {model}");
    let body = match skin {
        Skin::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": text, "details": detail}, "request_id": "req_scripted"})
        }
        Skin::OpenAi => {
            json!({"error": {"message": text, "type": kind, "param": null, "code": if detail.is_null() { Value::Null } else { json!("insufficient_quota") }}})
        }
        Skin::Ollama => json!({ "error": text }),
    };
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A proxy in front of the model answers 502 and 503 with a page, not with JSON.
    let mut response = if matches!(code, 502 | 503) {
        (status, format!("<html><h1>{text}</h1></html>")).into_response()
    } else {
        (status, axum::Json(body)).into_response()
    };
    if let Some(seconds) =
        after.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok())
    {
        response.headers_mut().insert("retry-after", seconds);
    }
    Some(response)
}

/// The steps of an answer of 200.
pub(super) fn steps(skin: Skin, act: &Act, asked: &Asked, streaming: bool) -> Vec<Step> {
    let voice = Voice {
        skin,
        model: &asked.model,
        input: (asked.raw.len() / 4).max(1),
    };
    if !streaming {
        return whole(&voice, act, asked);
    }
    let mut steps = Vec::new();
    let opening = voice.open();
    let begin = |steps: &mut Vec<Step>| steps.extend(opening.iter().cloned().map(Step::Send));
    let speak = |steps: &mut Vec<Step>, text: &str| {
        steps.extend(
            pieces(text)
                .iter()
                .map(|piece| Step::Send(voice.piece(piece))),
        );
    };
    match act {
        Act::Garbage => {
            return vec![Step::Send(
                "data: {\"not\": \"the protocol\"}\n\n<html>\u{0}\u{1}garbage</html>\n".to_owned(),
            )];
        }
        Act::Stall => return vec![Step::Forever],
        _ => begin(&mut steps),
    }
    let mut stop = "end_turn";
    match act {
        Act::Say(text) => speak(&mut steps, text),
        Act::Pieces(list) => steps.extend(list.iter().map(|piece| Step::Send(voice.piece(piece)))),
        Act::Hold(first, then) => {
            speak(&mut steps, first);
            steps.push(Step::Gate);
            speak(&mut steps, then);
        }
        Act::StallAfter(text) => {
            speak(&mut steps, text);
            steps.push(Step::Forever);
            return steps;
        }
        Act::CutAfter(text) => {
            speak(&mut steps, text);
            steps.push(Step::Cut);
            return steps;
        }
        Act::ErrorAfter(text) => {
            speak(&mut steps, text);
            steps.push(Step::Send(voice.error()));
            return steps;
        }
        Act::Length(text) => {
            speak(&mut steps, text);
            stop = "max_tokens";
        }
        Act::Refuse => stop = "refusal",
        Act::Empty => {}
        _ => speak(&mut steps, &echo(&asked.last())),
    }
    steps.push(Step::Send(voice.close(stop)));
    steps
}

fn whole(voice: &Voice<'_>, act: &Act, asked: &Asked) -> Vec<Step> {
    let (text, stop) = match act {
        Act::Garbage => return vec![Step::Send("<html>garbage</html>".to_owned())],
        Act::Stall | Act::StallAfter(_) => return vec![Step::Forever],
        Act::CutAfter(_) => return vec![Step::Send("{\"id\":".to_owned()), Step::Cut],
        Act::ErrorAfter(_) => return vec![Step::Send(json!({"type": "error", "error": {"type": "overloaded_error", "message": "SECRET-RAW-ERROR"}}).to_string())],
        Act::Say(text) => (text.clone(), "end_turn"),
        Act::Pieces(list) => (list.concat(), "end_turn"),
        Act::Hold(first, then) => return vec![Step::Gate, Step::Send(voice.whole(&format!("{first}{then}"), "end_turn"))],
        Act::Length(text) => (text.clone(), "max_tokens"),
        Act::Refuse => (String::new(), "refusal"),
        Act::Empty => (String::new(), "end_turn"),
        _ => (echo(&asked.last()), "end_turn"),
    };
    vec![Step::Send(voice.whole(&text, stop))]
}

/// Cut like a model's tokens: a few characters each.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    // Long answers come in fewer, larger pieces, so that tests stay quick.
    let size = (letters.len() / 40).max(4);
    letters
        .chunks(size)
        .map(|chunk| chunk.iter().collect())
        .collect()
}

struct Voice<'a> {
    skin: Skin,
    model: &'a str,
    input: usize,
}

impl Voice<'_> {
    fn event(name: &str, data: &Value) -> String {
        format!("event: {name}\ndata: {data}\n\n")
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> String {
        let body = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {body}\n\n")
    }

    fn open(&self) -> Vec<String> {
        match self.skin {
            Skin::Anthropic => vec![
                Self::event(
                    "message_start",
                    &json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": self.input, "output_tokens": 1}}}),
                ),
                Self::event(
                    "content_block_start",
                    &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                ),
                Self::event("ping", &json!({"type": "ping"})),
            ],
            Skin::OpenAi => {
                vec![self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)]
            }
            Skin::Ollama => Vec::new(),
        }
    }

    fn piece(&self, text: &str) -> String {
        match self.skin {
            Skin::Anthropic => Self::event(
                "content_block_delta",
                &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            ),
            Skin::OpenAi => self.chunk(&json!({ "content": text }), &Value::Null),
            Skin::Ollama => format!(
                "{}\n",
                json!({"model": self.model, "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}, "done": false})
            ),
        }
    }

    fn error(&self) -> String {
        match self.skin {
            Skin::Anthropic => Self::event(
                "error",
                &json!({"type": "error", "error": {"type": "overloaded_error", "message": "SECRET-RAW-ERROR"}}),
            ),
            Skin::OpenAi => {
                "data: {\"error\":{\"message\":\"SECRET-RAW-ERROR\",\"type\":\"server_error\"}}\n\n"
                    .to_owned()
            }
            Skin::Ollama => "{\"error\":\"SECRET-RAW-ERROR\"}\n".to_owned(),
        }
    }

    fn close(&self, stop: &str) -> String {
        match self.skin {
            Skin::Anthropic => [
                Self::event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
                Self::event("message_delta", &json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 12}})),
                Self::event("message_stop", &json!({"type": "message_stop"})),
            ]
            .concat(),
            Skin::OpenAi => {
                let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": [], "usage": {"prompt_tokens": self.input, "completion_tokens": 12, "total_tokens": self.input + 12}});
                format!("{}data: {usage}\n\ndata: [DONE]\n\n", self.chunk(&json!({}), &json!(finish(stop))))
            }
            Skin::Ollama => format!("{}\n", json!({"model": self.model, "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": if stop == "max_tokens" { "length" } else { "stop" }, "prompt_eval_count": self.input, "eval_count": 12})),
        }
    }

    fn whole(&self, text: &str, stop: &str) -> String {
        match self.skin {
            Skin::Anthropic => {
                let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
                json!({"id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": content, "stop_reason": stop, "stop_sequence": null, "usage": {"input_tokens": self.input, "output_tokens": 12}})
            }
            Skin::OpenAi => json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model, "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish(stop)}], "usage": {"prompt_tokens": self.input, "completion_tokens": 12, "total_tokens": self.input + 12}}),
            Skin::Ollama => json!({"model": self.model, "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}, "done": true, "done_reason": "stop", "prompt_eval_count": self.input, "eval_count": 12}),
        }
        .to_string()
    }
}

fn finish(stop: &str) -> &'static str {
    match stop {
        "max_tokens" => "length",
        "refusal" => "content_filter",
        _ => "stop",
    }
}
