//! Ollama's native chat: the only one of its interfaces in which the context size can be set.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::http::{Call, Framing, Reader};
use super::wire::{Failure, Halt, Piece, role, stream_error, system};
use super::{Endpoint, Error, Prompt, Utterance};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    think: bool,
    messages: Vec<Message<'a>>,
    options: Options,
}

#[derive(Serialize)]
struct Options {
    num_ctx: u32,
    num_predict: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
}

/// What is sent for one answer.
pub(super) fn call(
    endpoint: &Endpoint,
    model: &str,
    prompt: &Prompt,
    shape: super::chain::Shape,
    context_tokens: u32,
) -> Result<Call, Error> {
    let system = system(prompt).map(|system| Message {
        role: "system",
        content: system.into(),
        images: Vec::new(),
    });
    let messages = prompt.utterances.iter().map(message);
    Call::new(
        format!("{}/api/chat", endpoint.base_url),
        Vec::new(),
        &Body {
            model,
            stream: true,
            think: false,
            messages: system.into_iter().chain(messages).collect(),
            options: Options {
                // Its default of 4,096 would cut the history without a word.
                num_ctx: context_tokens.saturating_add(shape.max_tokens),
                num_predict: shape.max_tokens,
                temperature: shape.temperature,
            },
        },
    )
}

fn message(utterance: &Utterance) -> Message<'_> {
    Message {
        role: role(utterance),
        content: utterance.text.as_str().into(),
        images: utterance
            .images
            .iter()
            .map(|image| image.base64.as_ref())
            .collect(),
    }
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
