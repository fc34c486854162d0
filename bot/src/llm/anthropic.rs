//! Anthropic Messages: the request, and its stream of events.

use serde_json::{Value, json};

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, stream_error};
use super::{Endpoint, Error, Prompt, Role, Utterance};

/// The version of the interface that this room speaks.
const VERSION: &str = "2023-06-01";

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
) -> Call {
    let mut system = vec![json!({
        "type": "text", "text": prompt.system, "cache_control": { "type": "ephemeral" }
    })];
    // After the marker: a new date must not spoil the cached persona.
    if !prompt.dated.is_empty() {
        system.push(json!({ "type": "text", "text": prompt.dated }));
    }
    let mut body = json!({
        "model": model,
        "max_tokens": shape.max_tokens,
        "stream": true,
        "messages": prompt.utterances.iter().map(message).collect::<Vec<_>>(),
    });
    if !prompt.system.is_empty() {
        body["system"] = system.into();
    }
    if let Some(temperature) = shape.temperature {
        body["temperature"] = temperature.into();
    }
    Call {
        url: format!("{}/v1/messages", endpoint.base_url),
        headers: headers(endpoint),
        body,
    }
}

/// What every request carries.
pub(super) fn headers(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    vec![
        ("x-api-key", endpoint.key_text()),
        ("anthropic-version", VERSION.to_owned()),
    ]
}

fn message(utterance: &Utterance) -> Value {
    let role = match utterance.role {
        Role::Member => "user",
        Role::Companion => "assistant",
    };
    let mut content: Vec<Value> = utterance
        .images
        .iter()
        .map(|image| {
            let source =
                json!({ "type": "base64", "media_type": image.media_type, "data": image.base64 });
            json!({ "type": "image", "source": source })
        })
        .collect();
    content.push(json!({ "type": "text", "text": utterance.text }));
    json!({ "role": role, "content": content })
}

/// Reads the events.
#[derive(Debug, Default)]
pub(super) struct Events;

impl Reader for Events {
    fn framing(&self) -> Framing {
        Framing::Events
    }

    fn read(&mut self, data: &str) -> Result<Vec<Piece>, Failure> {
        let event: Value = serde_json::from_str(data).map_err(|_| Error::Malformed)?;
        let mut pieces = Vec::new();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => usage(&event["message"]["usage"], &mut pieces),
            "content_block_start" => text(&event["content_block"]["text"], &mut pieces),
            "content_block_delta" if event["delta"]["type"] == "text_delta" => {
                text(&event["delta"]["text"], &mut pieces);
            }
            "message_delta" => {
                usage(&event["usage"], &mut pieces);
                pieces.extend(halt(&event["delta"]["stop_reason"]));
            }
            "message_stop" => pieces.push(Piece::Done),
            "error" => return Err(stream_error(&event).into()),
            // Pings, reasoning, signatures, and whatever is invented later.
            _ => {}
        }
        Ok(pieces)
    }

    fn whole(&mut self, body: &Value) -> Result<Vec<Piece>, Failure> {
        if body["type"] == "error" {
            return Err(stream_error(body).into());
        }
        let blocks = body["content"].as_array().ok_or(Error::Malformed)?;
        let mut pieces = Vec::new();
        for block in blocks.iter().filter(|block| block["type"] == "text") {
            text(&block["text"], &mut pieces);
        }
        usage(&body["usage"], &mut pieces);
        pieces.extend(halt(&body["stop_reason"]));
        pieces.push(Piece::Done);
        Ok(pieces)
    }
}

fn text(value: &Value, pieces: &mut Vec<Piece>) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The counts are totals so far, and the first output count is a placeholder that later ones replace.
fn usage(value: &Value, pieces: &mut Vec<Piece>) {
    let read = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ];
    let read: u64 = read.iter().filter_map(|name| value[*name].as_u64()).sum();
    if read > 0 {
        pieces.push(Piece::Input(read));
    }
    if let Some(written) = value["output_tokens"].as_u64() {
        pieces.push(Piece::Output(written));
    }
}

fn halt(reason: &Value) -> Option<Piece> {
    Some(Piece::Halt(match reason.as_str()? {
        "max_tokens" | "model_context_window_exceeded" => Halt::Length,
        "refusal" => Halt::Refused,
        _ => Halt::End,
    }))
}
