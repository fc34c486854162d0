//! `provider/model`: the names by which owners choose models.

use std::fmt;
use std::str::FromStr;

/// Whose interface is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI's chat completions, and everything compatible with them.
    OpenAi,
    /// Gemini through its OpenAI-compatible endpoint.
    Gemini,
    /// Ollama's native interface.
    Ollama,
    /// No model at all: says back what was said.
    Echo,
}

impl Provider {
    /// Who runs its own servers, as members know them; none for what everybody runs for themselves.
    pub(super) fn company(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("Anthropic"),
            Self::OpenAi => Some("OpenAI"),
            Self::Gemini => Some("Google"),
            Self::Ollama | Self::Echo => None,
        }
    }

    /// As written in a model name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Echo => "echo",
        }
    }
}

/// One model of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName {
    /// Whose.
    pub provider: Provider,
    /// Which, in the provider's own words.
    pub id: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider.as_str(), self.id)
    }
}

/// Not a model name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected provider/model, with anthropic, openai, gemini, ollama or echo as the provider")]
pub struct NotAModel;

impl FromStr for ModelName {
    type Err = NotAModel;

    fn from_str(text: &str) -> Result<Self, NotAModel> {
        let text = text.trim();
        let (provider, id) = match text.split_once('/') {
            Some(("anthropic", id)) => (Provider::Anthropic, id),
            Some(("openai", id)) => (Provider::OpenAi, id),
            Some(("gemini", id)) => (Provider::Gemini, id),
            // The predecessor's library knew Ollama under two names.
            Some(("ollama" | "ollama_chat", id)) => (Provider::Ollama, id),
            Some(("echo", id)) => (Provider::Echo, id),
            // It also took these bare names; each belongs to one provider.
            None if text.starts_with("claude-") => (Provider::Anthropic, text),
            None if text.starts_with("gpt-") => (Provider::OpenAi, text),
            None if text.starts_with("gemini-") => (Provider::Gemini, text),
            None if text == "echo" => (Provider::Echo, "echo"),
            _ => return Err(NotAModel),
        };
        let printable = !id.is_empty() && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        printable
            .then(|| Self {
                provider,
                id: id.to_owned(),
            })
            .ok_or(NotAModel)
    }
}
