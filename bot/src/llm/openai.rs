//! OpenAI's chat completions and everything compatible with them; Gemini speaks it too.

use serde_json::{Value, json};

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, stream_error};
use super::{Endpoint, Error, Prompt, Provider, Role, Utterance};

/// OpenAI's own servers know a newer name for the length of an answer, and their newest models know only that.
pub(super) const OPENAI_URL: &str = "https://api.openai.com/v1";

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    provider: Provider,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
) -> Call {
    let mut messages = Vec::with_capacity(prompt.utterances.len() + 1);
    let system = [prompt.system.as_str(), prompt.dated.as_str()];
    let system = system
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("\n\n");
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.extend(prompt.utterances.iter().map(message));
    let mut body = json!({
        "model": model,
        "stream": true,
        "stream_options": { "include_usage": true },
        "messages": messages,
    });
    let length = if endpoint.base_url == OPENAI_URL {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    body[length] = shape.max_tokens.into();
    if let Some(temperature) = shape.temperature {
        body["temperature"] = temperature.into();
    }
    if provider == Provider::Gemini {
        // Its reasoning counts against the length of the answer.
        body["reasoning_effort"] = "low".into();
    }
    Call {
        url: format!("{}/chat/completions", endpoint.base_url),
        headers: headers(endpoint),
        body,
    }
}

/// What every request carries.
pub(super) fn headers(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    match endpoint.key_text() {
        // A server on the NAS or in the house often wants no key.
        key if key.is_empty() => Vec::new(),
        key => vec![("authorization", format!("Bearer {key}"))],
    }
}

fn message(utterance: &Utterance) -> Value {
    let role = match utterance.role {
        Role::Member => "user",
        Role::Companion => "assistant",
    };
    if utterance.images.is_empty() {
        return json!({ "role": role, "content": utterance.text });
    }
    let mut content = vec![json!({ "type": "text", "text": utterance.text })];
    content.extend(utterance.images.iter().map(|image| {
        let url = format!("data:{};base64,{}", image.media_type, image.base64);
        json!({ "type": "image_url", "image_url": { "url": url } })
    }));
    json!({ "role": role, "content": content })
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
