//! Dead-model watch: asks every provider which models it has, before a member finds out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::http;
use super::{Config, Error, ModelName, Provider, anthropic, openai};

/// One model of ours that needs the owner's eye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFinding {
    /// Which.
    pub model: ModelName,
    /// What about it.
    pub trouble: Trouble,
}

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its provider does not list it (any more).
    Unknown {
        /// The nearest name that the provider does list.
        successor: Option<String>,
    },
    /// Its provider could not be asked.
    Unasked(Error),
}

pub(super) async fn check(
    config: &Config,
    client: &reqwest::Client,
    besides: Option<&ModelName>,
) -> Vec<ModelFinding> {
    let mut by_provider: BTreeMap<Provider, Vec<ModelName>> = BTreeMap::new();
    for model in config.chain().chain(besides) {
        let models = by_provider.entry(model.provider).or_default();
        if !models.contains(model) {
            models.push(model.clone());
        }
    }
    by_provider.remove(&Provider::Echo);
    let mut findings = Vec::new();
    for (provider, models) in by_provider {
        match listed(config, client, provider).await {
            // A server without a list of models proves nothing against ours.
            Err(Error::UnknownModel | Error::Rejected { .. } | Error::Malformed) => {}
            Err(error) => findings.extend(models.into_iter().map(|model| ModelFinding {
                model,
                trouble: Trouble::Unasked(error.clone()),
            })),
            Ok(ids) => findings.extend(missing(models, &ids)),
        }
    }
    findings
}

/// Those of `models` that are not among `ids`; an empty list is no list.
pub(super) fn missing(models: Vec<ModelName>, ids: &[String]) -> Vec<ModelFinding> {
    let unknown = models
        .into_iter()
        .filter(|model| !ids.is_empty() && !ids.iter().any(|id| is_same(&model.id, id)));
    unknown
        .map(|model| {
            let successor = nearest(&model.id, ids);
            ModelFinding {
                model,
                trouble: Trouble::Unknown { successor },
            }
        })
        .collect()
}

/// `claude-haiku-4-5` is listed as `claude-haiku-4-5-20251001`, and `llama3.1` as `llama3.1:latest`.
fn is_same(ours: &str, listed: &str) -> bool {
    let ours = ours.strip_suffix("-latest").unwrap_or(ours);
    listed.strip_prefix(ours).is_some_and(|rest| {
        rest.is_empty()
            || rest == ":latest"
            || rest.strip_prefix('-').is_some_and(|date| {
                date.len() >= 8 && date.chars().all(|c| c.is_ascii_digit() || c == '-')
            })
    })
}

/// The listed name that shares the longest beginning with ours; of equals, the last in order is the newest.
fn nearest(ours: &str, ids: &[String]) -> Option<String> {
    let shared = |id: &str| {
        ours.chars()
            .zip(id.chars())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let best = ids
        .iter()
        .max_by(|a, b| shared(a).cmp(&shared(b)).then_with(|| a.cmp(b)))?;
    (shared(best) >= 4).then(|| best.clone())
}

async fn listed(
    config: &Config,
    client: &reqwest::Client,
    provider: Provider,
) -> Result<Vec<String>, Error> {
    let endpoint = config.endpoint(provider);
    let base = &endpoint.base_url;
    let (url, headers) = match provider {
        Provider::Anthropic => (
            format!("{base}/v1/models?limit=1000"),
            anthropic::headers(endpoint),
        ),
        Provider::OpenAi | Provider::Gemini => {
            (format!("{base}/models"), openai::headers(endpoint))
        }
        Provider::Ollama => (format!("{base}/api/tags"), Vec::new()),
        Provider::Echo => return Ok(Vec::new()),
    };
    let mut request = client.get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = http::json(request, config.timeout)
        .await
        .map_err(|failure| failure.error)?;
    ids(&body).ok_or(Error::Malformed)
}

/// The names in a provider's list, whichever of the three shapes it has.
pub(super) fn ids(body: &Value) -> Option<Vec<String>> {
    let list = body["data"]
        .as_array()
        .or_else(|| body["models"].as_array())?;
    let name = |entry: &Value| {
        let name = entry["id"].as_str().or_else(|| entry["name"].as_str())?;
        Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    Some(list.iter().filter_map(name).collect())
}
