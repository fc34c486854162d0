//! The models' settings: complete and valid before the first request.

use std::time::Duration;

use daemon_kit::env::Env;
use daemon_kit::text::Text;
use secrecy::{ExposeSecret, SecretString};

use super::openai::OPENAI_URL;
use super::{ModelName, Provider};

const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const GEMINI_URL: &str = "https://generativelanguage.googleapis.com/v1beta/openai";
const OLLAMA_URL: &str = "http://localhost:11434";
const EXAMPLE: &str = "anthropic/claude-haiku-4-5";

/// Where one provider is reached, and with which key.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Without a slash at its end.
    pub base_url: String,
    /// None where none is needed.
    pub key: Option<SecretString>,
}

impl Endpoint {
    pub(super) fn key_text(&self) -> String {
        self.key
            .as_ref()
            .map(|key| key.expose_secret().to_owned())
            .unwrap_or_default()
    }

    /// Whether the address is one that only the house can reach: what runs there costs nothing unless priced.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let Ok(url) = reqwest::Url::parse(&self.base_url) else {
            return false;
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(v4)) => {
                v4.is_private() || v4.is_loopback() || v4.is_link_local()
            }
            Ok(std::net::IpAddr::V6(v6)) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
            // A bare name, or a name that no public resolver answers.
            Err(_) => {
                !host.contains('.')
                    || [".local", ".lan", ".internal", ".home.arpa"]
                        .iter()
                        .any(|end| host.ends_with(end))
            }
        }
    }
}

/// Everything about models that the owner can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who answers.
    pub model: ModelName,
    /// Who answers when it cannot, in order.
    pub fallbacks: Vec<ModelName>,
    /// Liveliness.
    pub temperature: f32,
    /// Longest answer.
    pub max_tokens: u32,
    /// How often one model is asked again.
    pub max_retries: u32,
    /// Pause before the first time; doubles.
    pub retry_base: Duration,
    /// No byte for this long = failed.
    pub timeout: Duration,
    /// What a prompt may hold.
    pub context_tokens: u32,
    /// Anthropic.
    pub anthropic: Endpoint,
    /// OpenAI, or whatever is compatible with it.
    pub openai: Endpoint,
    /// Gemini.
    pub gemini: Endpoint,
    /// Ollama.
    pub ollama: Endpoint,
}

impl Config {
    /// Asks for everything; problems are gathered in `env`.
    pub fn read(env: &mut Env) -> Self {
        let model = env
            .parsed("LLM_MODEL", EXAMPLE, &model_expected(), EXAMPLE, parse)
            .unwrap_or_else(placeholder);
        let fallbacks = fallbacks(env);
        let mut config = Self {
            model,
            fallbacks,
            temperature: env.number("LLM_TEMPERATURE", 0.7, 0.0..=2.0) as f32,
            max_tokens: env.number("LLM_MAX_TOKENS", 2048, 16..=64_000),
            max_retries: env.number("LLM_MAX_RETRIES", 3, 0..=10),
            retry_base: Duration::from_secs_f64(env.number(
                "LLM_RETRY_DELAY_BASE",
                1.0,
                0.0..=30.0,
            )),
            timeout: Duration::from_secs(env.number("LLM_TIMEOUT_SECONDS", 60, 1..=600)),
            context_tokens: env.number("LLM_CONTEXT_TOKENS", 8000, 1000..=1_000_000),
            anthropic: endpoint(
                env,
                "ANTHROPIC_BASE_URL",
                ANTHROPIC_URL,
                &["/v1/messages", "/v1"],
            ),
            openai: endpoint(env, "OPENAI_BASE_URL", OPENAI_URL, &["/chat/completions"]),
            gemini: endpoint(env, "GEMINI_BASE_URL", GEMINI_URL, &["/chat/completions"]),
            ollama: endpoint(
                env,
                "OLLAMA_BASE_URL",
                OLLAMA_URL,
                &["/api/chat", "/api", "/v1"],
            ),
        };
        // A bare address of a compatible server means its version 1, as all of them write it.
        if reqwest::Url::parse(&config.openai.base_url).is_ok_and(|url| url.path() == "/") {
            config.openai.base_url.push_str("/v1");
        }
        config.read_keys(env);
        config
    }

    /// Where a provider is reached.
    #[must_use]
    pub fn endpoint(&self, provider: Provider) -> &Endpoint {
        match provider {
            Provider::Anthropic => &self.anthropic,
            Provider::OpenAi => &self.openai,
            Provider::Gemini => &self.gemini,
            // The echo is reached nowhere; any endpoint without a key does.
            Provider::Ollama | Provider::Echo => &self.ollama,
        }
    }

    /// Whether a model runs in the house, so that its words cost nothing unless priced.
    #[must_use]
    pub fn is_free(&self, model: &ModelName) -> bool {
        matches!(model.provider, Provider::Ollama | Provider::Echo)
            || self.endpoint(model.provider).is_private()
    }

    /// Who gets to read what is sent to `model`, as members know them: whoever is at the address, whatever the
    /// interface is called. None when nothing leaves the house.
    #[must_use]
    pub fn reader(&self, model: &ModelName) -> Option<String> {
        let provider = model.provider;
        let endpoint = self.endpoint(provider);
        if provider == Provider::Echo || endpoint.is_private() {
            return None;
        }
        let host = host_of(&endpoint.base_url);
        let is_its_own = host == host_of(usual_url(provider));
        let company = provider.company().filter(|_| is_its_own);
        Some(company.map_or(host, str::to_owned))
    }

    /// Every model that may answer, in order.
    pub fn chain(&self) -> impl Iterator<Item = &ModelName> {
        std::iter::once(&self.model).chain(&self.fallbacks)
    }

    fn uses(&self, provider: Provider) -> bool {
        self.chain().any(|model| model.provider == provider)
    }

    fn read_keys(&mut self, env: &mut Env) {
        let needed = self.uses(Provider::Anthropic);
        self.anthropic.key = key(env, "ANTHROPIC_API_KEY", "sk-ant-…", needed);
        // Compatible servers in the house often want no key.
        let needed = self.uses(Provider::OpenAi) && self.openai.base_url == OPENAI_URL;
        self.openai.key = key(env, "OPENAI_API_KEY", "sk-…", needed);
        let needed = self.uses(Provider::Gemini);
        self.gemini.key = key(env, "GEMINI_API_KEY", "AIza…", needed);
    }
}

fn usual_url(provider: Provider) -> &'static str {
    match provider {
        Provider::Anthropic => ANTHROPIC_URL,
        Provider::OpenAi => OPENAI_URL,
        Provider::Gemini => GEMINI_URL,
        Provider::Ollama | Provider::Echo => OLLAMA_URL,
    }
}

/// Nothing else of an address: the rest may hold a key.
fn host_of(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str);
    host.unwrap_or_default().to_owned()
}

fn model_expected() -> Text {
    Text::new(
        "「提供元/モデル名」(提供元は anthropic, openai, gemini, ollama, echo)",
        "provider/model (the provider is anthropic, openai, gemini, ollama or echo)",
    )
}

fn parse(text: &str) -> Option<ModelName> {
    text.parse().ok()
}

/// Stands where a problem has been recorded: nothing starts with it.
fn placeholder() -> ModelName {
    ModelName {
        provider: Provider::Echo,
        id: "echo".to_owned(),
    }
}

fn fallbacks(env: &mut Env) -> Vec<ModelName> {
    let names = env.list("LLM_FALLBACK_MODEL");
    let mut models = Vec::with_capacity(names.len());
    for name in &names {
        match parse(name) {
            Some(model) => models.push(model),
            None => env.problem(
                "LLM_FALLBACK_MODEL",
                Text::new(
                    "「提供元/モデル名」をコンマで区切って並べてください",
                    "provider/model, separated by commas",
                ),
                EXAMPLE,
            ),
        }
    }
    models
}

fn endpoint(env: &mut Env, name: &'static str, default: &str, needless: &[&str]) -> Endpoint {
    let base_url = env
        .parsed(
            name,
            default,
            &Text::new(
                "http:// か https:// で始まるアドレス",
                "an http:// or https:// address",
            ),
            default,
            |text| {
                let url = reqwest::Url::parse(text).ok()?;
                (matches!(url.scheme(), "http" | "https") && url.has_host())
                    .then(|| text.to_owned())
            },
        )
        .unwrap_or_else(|| default.to_owned());
    // Documentation of the providers shows addresses with and without these ends.
    let mut short = base_url.trim_end_matches('/');
    for end in needless {
        short = short
            .strip_suffix(end)
            .unwrap_or(short)
            .trim_end_matches('/');
    }
    Endpoint {
        base_url: short.to_owned(),
        key: None,
    }
}

fn key(env: &mut Env, name: &'static str, example: &str, needed: bool) -> Option<SecretString> {
    if needed {
        Some(env.required_secret(name, example))
    } else {
        env.secret(name)
    }
}
