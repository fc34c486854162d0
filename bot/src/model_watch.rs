//! Whether our models will answer: asked at the start and every day, before a member finds out.
//!
//! A refused key is told once with its cure and turns the container unhealthy; members go on getting kind notes, and the
//! card for distress. When the settings or a secret file change meanwhile, the bot begins anew with them by itself.

use std::sync::Arc;
use std::time::Duration;

use daemon_kit::boot::Changed;
use daemon_kit::doctor::Finding;
use daemon_kit::text::Text;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::llm::{self, ModelFinding, ModelName, Models, Provider, Trouble};
use crate::owner::Owner;

/// How often the providers are asked while all is well.
const DAILY: Duration = Duration::from_hours(24);
/// How often while something is not.
const AGAIN: Duration = Duration::from_mins(10);
/// How often it is looked whether the owner has mended a refused key.
const LOOK: Duration = Duration::from_secs(20);

/// Who asks.
pub struct ModelWatch {
    /// The chain.
    pub models: Arc<Models>,
    /// Who judges whether to speak unasked, where that is on anywhere.
    pub judge: Box<dyn Fn() -> Option<ModelName> + Send + Sync>,
    /// Who is told.
    pub owner: Owner,
    /// Whether the configuration changed.
    pub changed: Changed,
    /// Set while no model of the chain accepts its key.
    pub refused: watch::Sender<bool>,
    /// Called once to begin anew.
    pub renew: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for ModelWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModelWatch")
    }
}

impl ModelWatch {
    /// Watches until dropped, or until the bot is to begin anew.
    pub async fn attend(self) {
        let mut said = Vec::new();
        loop {
            let judge = (self.judge)();
            let found = self.models.check(judge.as_ref()).await;
            for trouble in found.iter().filter(|trouble| !said.contains(*trouble)) {
                self.tell(trouble, judge.as_ref());
            }
            let is_refused = all_refused(self.models.config(), &found);
            self.refused.send_replace(is_refused);
            let pause = if found.is_empty() { DAILY } else { AGAIN };
            said = found;
            let until = Instant::now() + pause;
            while Instant::now() < until {
                sleep(LOOK.min(pause)).await;
                if is_refused && self.is_changed().await {
                    return (self.renew)();
                }
            }
        }
    }

    async fn is_changed(&self) -> bool {
        let changed = self.changed.clone();
        let looked = tokio::task::spawn_blocking(move || changed.look()).await;
        looked.unwrap_or(false)
    }

    fn tell(&self, found: &ModelFinding, judge: Option<&ModelName>) {
        let model = found.model.to_string();
        let part = Part::of(&found.model, self.models.config(), judge);
        let finding = explain(found, part);
        let line = finding.line();
        if is_refusal(found) {
            tracing::error!(event = "model.trouble", model, trouble = ?found.trouble, "{line}");
        } else {
            tracing::warn!(event = "model.trouble", model, trouble = ?found.trouble, "{line}");
        }
        let text = Text::new(
            format!("{}。{}", finding.what.ja, finding.fix.ja),
            format!("{}: {}", finding.what.en, finding.fix.en),
        );
        let cause = match part {
            // Told under the same name when it is asked in vain: once a day is enough.
            Part::Judge => "model:judge".to_owned(),
            Part::Chain | Part::Both => format!("model:{model}"),
        };
        self.owner.tell(cause, text);
    }
}

/// What a model is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It answers.
    Chain,
    /// It judges whether to speak unasked.
    Judge,
    /// It does both.
    Both,
}

impl Part {
    fn of(model: &ModelName, config: &llm::Config, judge: Option<&ModelName>) -> Self {
        let judges = judge == Some(model);
        match config.chain().any(|one| one == model) {
            true if judges => Self::Both,
            false if judges => Self::Judge,
            _ => Self::Chain,
        }
    }

    /// The settings that name it.
    fn settings(self) -> Text {
        match self {
            Self::Chain => Text::new(
                "LLM_MODEL (か LLM_FALLBACK_MODEL)",
                "LLM_MODEL (or LLM_FALLBACK_MODEL)",
            ),
            Self::Judge => Text::new("EAVESDROP_JUDGE_MODEL", "EAVESDROP_JUDGE_MODEL"),
            Self::Both => Text::new(
                "LLM_MODEL (か LLM_FALLBACK_MODEL) と EAVESDROP_JUDGE_MODEL",
                "LLM_MODEL (or LLM_FALLBACK_MODEL) and EAVESDROP_JUDGE_MODEL",
            ),
        }
    }
}

fn is_refusal(found: &ModelFinding) -> bool {
    found.trouble == Trouble::Unasked(llm::Error::Unauthorized)
}

/// Whether every model of the chain has its key refused: then no answer can come.
fn all_refused(config: &llm::Config, found: &[ModelFinding]) -> bool {
    let refused = |model: &ModelName| {
        found
            .iter()
            .any(|finding| finding.model == *model && is_refusal(finding))
    };
    config.chain().all(refused)
}

fn key_of(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "OPENAI_API_KEY",
        Provider::Gemini => "GEMINI_API_KEY",
        Provider::Anthropic | Provider::Ollama | Provider::Echo => "ANTHROPIC_API_KEY",
    }
}

/// What is wrong with a model, and the exact cure.
fn explain(found: &ModelFinding, part: Part) -> Finding {
    let model = &found.model;
    match &found.trouble {
        Trouble::Unasked(llm::Error::Unauthorized) => {
            let name = key_of(model.provider);
            let file = name.to_lowercase();
            Finding::error(
                "model.key",
                Text::new(
                    format!("モデル {model} の提供元が API キーを受け付けません"),
                    format!("the provider of {model} refuses the API key"),
                ),
                "401 / 403",
                Text::new(
                    format!(
                        "キーを作り直し、secrets/bot/{file} に書いてください (自動で読み直します)。.env の {name} に書いても構いません"
                    ),
                    format!(
                        "make a new key and put it into secrets/bot/{file} (read by itself), or into {name} in .env"
                    ),
                ),
            )
            .by_setting()
        }
        Trouble::Unknown { successor } => {
            let instead = successor.as_ref().map_or_else(
                || "anthropic/claude-haiku-4-5".to_owned(),
                |id| {
                    ModelName {
                        id: id.clone(),
                        ..model.clone()
                    }
                    .to_string()
                },
            );
            let settings = part.settings();
            Finding::warning(
                "model.unknown",
                Text::new(
                    format!("モデル {model} は提供元の一覧にありません (終了した可能性があります)"),
                    format!("{model} is not in its provider's list (it may have been retired)"),
                ),
                "",
                Text::new(
                    format!("{} を、たとえば {instead} に変えてください", settings.ja),
                    format!("set {} to another one, such as {instead}", settings.en),
                ),
            )
            .by_setting()
        }
        Trouble::Unasked(error) => Finding::warning(
            "model.unasked",
            Text::new(
                format!("モデル {model} の提供元に確かめられませんでした"),
                format!("the provider of {model} could not be asked"),
            ),
            error.to_string(),
            Text::new(
                "ネットワークと提供元の状況を確かめてください。10 分ごとに自動で確かめ直します",
                "check the network and the provider's status page; I ask again by myself every 10 minutes",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use daemon_kit::env::Env;

    use super::*;

    fn config(fallback: &str) -> llm::Config {
        let vars = [
            ("ANTHROPIC_API_KEY", "k"),
            ("OPENAI_API_KEY", "k"),
            ("LLM_FALLBACK_MODEL", fallback),
        ];
        llm::Config::read(&mut Env::from_map(vars))
    }

    fn refused(model: &str) -> ModelFinding {
        ModelFinding {
            model: model.parse().unwrap(),
            trouble: Trouble::Unasked(llm::Error::Unauthorized),
        }
    }

    #[test]
    fn one_model_that_may_answer_is_enough() {
        let haiku = refused("anthropic/claude-haiku-4-5");
        assert!(all_refused(&config(""), std::slice::from_ref(&haiku)));
        assert!(!all_refused(
            &config("ollama/llama3"),
            std::slice::from_ref(&haiku)
        ));
        let both = [haiku, refused("openai/gpt-4o")];
        assert!(all_refused(&config("openai/gpt-4o"), &both));
        assert!(!all_refused(&config(""), &[]));
    }

    #[test]
    fn each_model_is_mended_where_it_is_named() {
        let model: ModelName = "openai/gone".parse().unwrap();
        let found = ModelFinding {
            model: model.clone(),
            trouble: Trouble::Unknown { successor: None },
        };
        let cure = |fallback, judge| {
            let line = explain(&found, Part::of(&model, &config(fallback), judge)).line();
            let names = ["LLM_MODEL", "EAVESDROP_JUDGE_MODEL"];
            names.map(|name| line.contains(name))
        };
        assert_eq!(cure("openai/gone", None), [true, false]);
        assert_eq!(cure("", Some(&model)), [false, true]);
        assert_eq!(cure("openai/gone", Some(&model)), [true, true]);
    }

    #[test]
    fn a_cure_in_a_setting_ends_with_the_step_that_applies_it() {
        let line = explain(&refused("openai/gpt-4o"), Part::Chain).line();
        assert!(line.contains("secrets/bot/openai_api_key"), "{line}");
        assert!(line.ends_with("a restart does not apply it"), "{line}");
    }
}
