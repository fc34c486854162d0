//! Who we are: the built-in companion in both languages, or the owner's own, always with the law in words beside it.

use daemon_kit::text::Language;

use crate::manners::Law;

const JAPANESE: &str = include_str!("persona/ja.md");
const ENGLISH: &str = include_str!("persona/en.md");

/// A way of being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// What the model is told.
    pub prompt: String,
    /// What we never say, whatever the model does.
    pub law: Law,
}

impl Persona {
    /// The gentle companion that the house brings along.
    #[must_use]
    pub fn built_in(language: Language) -> Self {
        let text = match language {
            Language::Ja => JAPANESE,
            Language::En => ENGLISH,
        };
        Self {
            prompt: without_heading(text),
            law: Law::new(&[]),
        }
    }

    /// The owner's own words, under `law`.
    #[must_use]
    pub fn own(prompt: &str, law: Law, language: Language) -> Self {
        let mut prompt = without_heading(prompt);
        let rules = rules(&law, language);
        if !rules.is_empty() {
            prompt.push_str("\n\n");
            prompt.push_str(&rules);
        }
        Self { prompt, law }
    }
}

/// The first line of a prompt file may be its title: not meant for the model. So the predecessor read them.
pub(crate) fn without_heading(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').trim();
    let body = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("# ") => rest,
        _ => text,
    };
    body.trim().to_owned()
}

/// The law in words, so that a model keeps it by itself and little has to be left out afterwards.
fn rules(law: &Law, language: Language) -> String {
    let mut rules = Vec::new();
    if let Some(most) = law.max_characters {
        rules.push(match language {
            Language::Ja => format!("くわしく頼まれたとき以外は、{most} 文字以内で返事をします。"),
            Language::En => format!("Answer in at most {most} characters, unless asked for more."),
        });
    }
    if let Some(most) = law.max_questions {
        rules.push(match language {
            Language::Ja => format!("一回の返事で質問するのは、多くても {most} つまでです。"),
            Language::En => format!("Ask at most {most} question(s) in one answer."),
        });
    }
    rules.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manners::{Judge, Leave};

    #[test]
    fn the_built_in_companions_name_their_own_law_and_no_heading() {
        for language in [Language::Ja, Language::En] {
            let persona = Persona::built_in(language);
            assert!(!persona.prompt.starts_with('#') && persona.prompt.contains("300"));
            assert!(!persona.law.is_none());
        }
    }

    #[test]
    fn our_own_fixed_sentences_keep_the_law() {
        let judged = |text: &str| {
            let mut judge = Judge::new(
                &Law::new(&[]),
                Leave {
                    more: true,
                    ..Leave::default()
                },
            );
            judge.feed(text);
            judge.finish().left_out
        };
        let distress = crate::distress::Distress::default();
        for language in [Language::Ja, Language::En] {
            assert_eq!(judged(distress.card(language)), 0);
            assert_eq!(judged(crate::manners::instead(language)), 0);
        }
    }

    #[test]
    fn an_own_prompt_loses_its_title_and_gains_the_rules() {
        let own = Persona::own(
            "# システムプロンプト\n\nあなたは猫です。",
            Law::new(&[]),
            Language::Ja,
        );
        assert!(own.prompt.starts_with("あなたは猫です。") && own.prompt.contains("300 文字"));
        assert_eq!(
            Persona::own("# only", Law::none(), Language::En).prompt,
            "# only"
        );
    }
}
