//! Anthropic Messages: the request, and its stream of events.

use serde::Serialize;
use serde_json::Value;

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, role, stream_error};
use super::{Endpoint, Error, Prompt, Utterance};

/// The version of the interface that this room speaks.
const VERSION: &str = "2023-06-01";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source<'a>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CacheControl {
    Ephemeral,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
}

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
) -> Result<Call, Error> {
    let system = (!prompt.system.is_empty()).then_some(Block::Text {
        text: &prompt.system,
        cache_control: Some(CacheControl::Ephemeral),
    });
    // After the marker: a new date must not spoil the cached persona.
    let dated = (!prompt.dated.is_empty()).then(|| words(&prompt.dated));
    Call::new(
        format!("{}/v1/messages", endpoint.base_url),
        headers(endpoint),
        &Body {
            model,
            max_tokens: shape.max_tokens,
            stream: true,
            system: system.into_iter().chain(dated).collect(),
            messages: prompt.utterances.iter().map(message).collect(),
            temperature: shape.temperature,
        },
    )
}

/// What every request carries.
pub(super) fn headers(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    vec![
        ("x-api-key", endpoint.key_text()),
        ("anthropic-version", VERSION.to_owned()),
    ]
}

fn words(text: &str) -> Block<'_> {
    Block::Text {
        text,
        cache_control: None,
    }
}

fn message(utterance: &Utterance) -> Message<'_> {
    let images = utterance.images.iter().map(|image| Block::Image {
        source: Source::Base64 {
            media_type: &image.media_type,
            data: &image.base64,
        },
    });
    Message {
        role: role(utterance),
        content: images.chain([words(&utterance.text)]).collect(),
    }
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
