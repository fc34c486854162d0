//! Ollama's native chat: the only one of its interfaces in which the context size can be set.

use serde_json::{Value, json};

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, stream_error};
use super::{Endpoint, Error, Prompt, Role, Utterance};

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
    context_tokens: u32,
) -> Call {
    let system = [prompt.system.as_str(), prompt.dated.as_str()];
    let system = system
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("\n\n");
    let mut messages = Vec::with_capacity(prompt.utterances.len() + 1);
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.extend(prompt.utterances.iter().map(message));
    let mut options = json!({
        // Its default of 4,096 would cut the history without a word.
        "num_ctx": context_tokens.saturating_add(shape.max_tokens),
        "num_predict": shape.max_tokens,
    });
    if let Some(temperature) = shape.temperature {
        options["temperature"] = temperature.into();
    }
    let body = json!({ "model": model, "stream": true, "think": false, "messages": messages, "options": options });
    Call {
        url: format!("{}/api/chat", endpoint.base_url),
        headers: Vec::new(),
        body,
    }
}

fn message(utterance: &Utterance) -> Value {
    let role = match utterance.role {
        Role::Member => "user",
        Role::Companion => "assistant",
    };
    let mut message = json!({ "role": role, "content": utterance.text });
    if !utterance.images.is_empty() {
        message["images"] = utterance
            .images
            .iter()
            .map(|image| image.base64.clone())
            .collect();
    }
    message
}

/// Reads the lines: one JSON object each.
#[derive(Debug, Default)]
pub(super) struct Objects;

impl Reader for Objects {
    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn read(&mut self, line: &str) -> Result<Vec<Piece>, Failure> {
        let object: Value = serde_json::from_str(line).map_err(|_| Error::Malformed)?;
        self.whole(&object)
    }

    fn whole(&mut self, object: &Value) -> Result<Vec<Piece>, Failure> {
        if !object["error"].is_null() {
            return Err(stream_error(object).into());
        }
        if !object.is_object() {
            return Err(Error::Malformed.into());
        }
        let mut pieces = Vec::new();
        if let Some(text) = object["message"]["content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if object["done"] == true {
            pieces.extend(object["prompt_eval_count"].as_u64().map(Piece::Input));
            pieces.extend(object["eval_count"].as_u64().map(Piece::Output));
            let cut = object["done_reason"] == "length";
            pieces.push(Piece::Halt(if cut { Halt::Length } else { Halt::End }));
            pieces.push(Piece::Done);
        }
        Ok(pieces)
    }
}
