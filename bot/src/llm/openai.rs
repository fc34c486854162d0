//! OpenAI's chat completions and everything compatible with them; Gemini speaks it too.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, role, stream_error, system};
use super::{Endpoint, Error, Prompt, Provider, Utterance};

/// OpenAI's own servers know a newer name for the length of an answer, and their newest models know only that.
pub(super) const OPENAI_URL: &str = "https://api.openai.com/v1";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Words(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    provider: Provider,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
) -> Result<Call, Error> {
    let system = system(prompt).map(|system| Message {
        role: "system",
        content: Content::Words(system.into()),
    });
    let messages = prompt.utterances.iter().map(message);
    let (max_tokens, max_completion_tokens) = if endpoint.base_url == OPENAI_URL {
        (None, Some(shape.max_tokens))
    } else {
        (Some(shape.max_tokens), None)
    };
    Call::new(
        format!("{}/chat/completions", endpoint.base_url),
        headers(endpoint),
        &Body {
            model,
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            messages: system.into_iter().chain(messages).collect(),
            max_tokens,
            max_completion_tokens,
            temperature: shape.temperature,
            // Gemini's reasoning counts against the length of the answer.
            reasoning_effort: (provider == Provider::Gemini).then_some("low"),
        },
    )
}

/// What every request carries.
pub(super) fn headers(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    match endpoint.key_text() {
        // A server on the NAS or in the house often wants no key.
        key if key.is_empty() => Vec::new(),
        key => vec![("authorization", format!("Bearer {key}"))],
    }
}

fn message(utterance: &Utterance) -> Message<'_> {
    let text = utterance.text.as_str();
    let content = if utterance.images.is_empty() {
        Content::Words(text.into())
    } else {
        let images = utterance.images.iter().map(|image| Part::ImageUrl {
            image_url: ImageUrl {
                url: format!("data:{};base64,{}", image.media_type, image.base64),
            },
        });
        let words = std::iter::once(Part::Text { text });
        Content::Parts(words.chain(images).collect())
    };
    Message {
        role: role(utterance),
        content,
    }
}

/// Reads the chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks;

impl Reader for Chunks {
    fn framing(&self) -> Framing {
        Framing::Events
    }

    fn read(&mut self, data: &str) -> Result<Vec<Piece>, Failure> {
        if data.trim() == "[DONE]" {
            return Ok(vec![Piece::Done]);
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| Error::Malformed)?;
        pieces(&chunk, "delta")
    }

    fn whole(&mut self, body: &Value) -> Result<Vec<Piece>, Failure> {
        if body["error"].is_null() && !body["choices"].is_array() {
            return Err(Error::Malformed.into());
        }
        let mut pieces = pieces(body, "message")?;
        pieces.push(Piece::Done);
        Ok(pieces)
    }
}

/// `choices` may be empty or null in the chunk that carries the usage; reasoning fields are passed over.
fn pieces(chunk: &Value, part: &str) -> Result<Vec<Piece>, Failure> {
    if !chunk["error"].is_null() {
        return Err(stream_error(chunk).into());
    }
    let mut pieces = Vec::new();
    let choice = &chunk["choices"][0];
    if let Some(text) = choice[part]["content"]
        .as_str()
        .filter(|text| !text.is_empty())
    {
        pieces.push(Piece::Text(text.to_owned()));
    }
    if let Some(tokens) = chunk["usage"]["prompt_tokens"].as_u64() {
        pieces.push(Piece::Input(tokens));
    }
    if let Some(tokens) = chunk["usage"]["completion_tokens"].as_u64() {
        pieces.push(Piece::Output(tokens));
    }
    let refused = choice[part]["refusal"]
        .as_str()
        .is_some_and(|text| !text.is_empty());
    match choice["finish_reason"].as_str() {
        _ if refused => pieces.push(Piece::Halt(Halt::Refused)),
        Some("length") => pieces.push(Piece::Halt(Halt::Length)),
        Some("content_filter") => pieces.push(Piece::Halt(Halt::Refused)),
        Some(_) => pieces.push(Piece::Halt(Halt::End)),
        None => {}
    }
    Ok(pieces)
}
