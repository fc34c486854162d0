//! `config/kotonoha.yaml`: personas, channels, prices, the distress card. Optional; checked whole, with line numbers;
//! looked at again while we run, and the old one is kept when the new one is bad.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use daemon_kit::text::{Language, Text};

use crate::distress::Distress;
use crate::llm::ModelName;
use crate::manners::Law;
use crate::persona::{Persona, without_heading};
use crate::phrases::normal;
use crate::prices::Prices;

mod file;
#[cfg(test)]
mod tests;

pub use file::Hours;
use file::{File, PersonaEntry};

/// A longer file is not a configuration.
const SIZE_LIMIT: u64 = 256 * 1024;
/// The predecessor's persona, beside the YAML or in the working directory.
const PREDECESSOR_PROMPT: &str = "prompts/system_prompt.md";
/// By which it judged whether to speak unasked, and what it told the model then.
const PREDECESSOR_JUDGE: &str = "prompts/eavesdrop_judge_prompt.md";
const PREDECESSOR_REMARK: &str = "prompts/eavesdrop_response_prompt.md";
/// What the built-in companion answers to.
const NAMES: [&str; 3] = ["ことのは", "コトノハ", "kotonoha"];

/// What one channel has of its own; `None` = as everywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Channel {
    /// By name.
    pub persona: Option<String>,
    /// Whether a mention gets a thread.
    pub threads: Option<bool>,
    /// Whether answers grow before people's eyes.
    pub streaming: Option<bool>,
    /// Whether we may listen unasked.
    pub eavesdrop: Option<bool>,
    /// When we never speak unasked there; `Some(None)` = at no time of the day.
    pub quiet_hours: Option<Option<Hours>>,
    /// Who answers there first.
    pub model: Option<ModelName>,
    /// Whether our replies arrive without a sound.
    pub silent: Option<bool>,
}

/// The whole file, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who we are where nothing else is said.
    pub persona: Persona,
    personas: BTreeMap<String, Persona>,
    channels: BTreeMap<u64, Channel>,
    /// What models cost.
    pub prices: Prices,
    /// What is answered without a model.
    pub distress: Distress,
    /// Whether the model is named under its answer.
    pub footer: bool,
    /// Whether our replies arrive without a sound.
    pub silent: bool,
    /// When we never speak unasked, where a channel has no hours of its own.
    pub quiet_hours: Option<Hours>,
    /// What we are called, as `phrases::normal` has it.
    pub names: Vec<String>,
    /// The predecessor's words to the judge of unasked speech, if they are there.
    pub judge_prompt: Option<String>,
    /// The predecessor's words for speaking unasked, if they are there.
    pub remark_prompt: Option<String>,
    /// Whether the persona is the predecessor's.
    pub is_taken_over: bool,
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub path: PathBuf,
    /// Where in it, when that is known; the first is 1.
    pub line: Option<usize>,
    /// What.
    pub what: Text,
}

impl Problem {
    /// The problem as a sentence.
    #[must_use]
    pub fn text(&self) -> Text {
        let path = self.path.display();
        match self.line {
            Some(line) => Text::new(
                format!("{path} の {line} 行目: {}", self.what.ja),
                format!("{path}, line {line}: {}", self.what.en),
            ),
            None => Text::new(
                format!("{path}: {}", self.what.ja),
                format!("{path}: {}", self.what.en),
            ),
        }
    }
}

impl Settings {
    /// What holds without a file.
    #[must_use]
    pub fn built_in(language: Language) -> Self {
        Self {
            persona: Persona::built_in(language),
            personas: BTreeMap::new(),
            channels: BTreeMap::new(),
            prices: Prices::default(),
            distress: Distress::default(),
            footer: false,
            silent: false,
            quiet_hours: None,
            names: names(&[]),
            judge_prompt: None,
            remark_prompt: None,
            is_taken_over: false,
        }
    }

    /// Reads the file at `path`; none there is fine.
    pub fn load(path: &Path, language: Language) -> Result<Self, Problem> {
        let problem = |ja: &str, en: &str| Problem {
            path: path.to_owned(),
            line: None,
            what: Text::new(ja, en),
        };
        let text = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Ok(found) if found.len() > SIZE_LIMIT => {
                return Err(problem(
                    "256 KiB より大きいので読みません",
                    "larger than 256 KiB, so it is not read",
                ));
            }
            _ => std::fs::read_to_string(path).map_err(|_| {
                problem(
                    "読めません。権限と、UTF-8 で保存されているかを確かめてください",
                    "cannot be read: check its permissions, and that it is UTF-8",
                )
            })?,
        };
        let mut settings = Self::parse(&text, language).map_err(|(line, what)| Problem {
            line,
            ..problem("", "").with(what)
        })?;
        settings.take_over(path, language);
        Ok(settings)
    }

    /// Reads the text of a file; a problem comes with its line.
    pub fn parse(text: &str, language: Language) -> Result<Self, (Option<usize>, Text)> {
        let text = text.trim_start_matches('\u{feff}');
        let has_content = text
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        if !has_content {
            return Ok(Self::built_in(language));
        }
        let file: File = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map(|place| place.line());
            let words = error.to_string();
            // The place is said by us, in the reader's language.
            let what = words.split(" at line ").next().unwrap_or(&words).to_owned();
            (
                line,
                Text::new(format!("書き方が正しくありません ({what})"), what),
            )
        })?;
        assemble(file, text, language)
    }

    /// What is particular to `channel` (or to the channel that a thread hangs on).
    #[must_use]
    pub fn channel(&self, channel: u64) -> Channel {
        self.channels.get(&channel).cloned().unwrap_or_default()
    }

    /// All channels that are named.
    pub fn channels(&self) -> impl Iterator<Item = (u64, &Channel)> {
        self.channels.iter().map(|(id, channel)| (*id, channel))
    }

    /// When we never speak unasked in `channel`.
    #[must_use]
    pub fn quiet_hours_of(&self, channel: u64) -> Option<Hours> {
        let own = self
            .channels
            .get(&channel)
            .and_then(|channel| channel.quiet_hours);
        own.unwrap_or(self.quiet_hours)
    }

    /// A persona by its name; an unknown one is the usual one.
    #[must_use]
    pub fn persona_named(&self, name: Option<&str>) -> &Persona {
        name.and_then(|name| self.personas.get(name))
            .unwrap_or(&self.persona)
    }

    /// The personas that can be chosen.
    pub fn persona_names(&self) -> impl Iterator<Item = &str> {
        self.personas.keys().map(String::as_str)
    }

    /// Without a persona of the owner's, the predecessor's prompt goes on speaking.
    /// Its words about speaking unasked do so in any case.
    fn take_over(&mut self, path: &Path, language: Language) {
        let own = |name| taken_over(path, name).map(|text| without_heading(&text));
        self.judge_prompt = own(PREDECESSOR_JUDGE);
        self.remark_prompt = own(PREDECESSOR_REMARK);
        if !self.personas.is_empty() {
            return;
        }
        if let Some(prompt) = taken_over(path, PREDECESSOR_PROMPT) {
            self.persona = Persona::own(&prompt, self.persona.law.clone(), language);
            self.is_taken_over = true;
        }
    }
}

/// A file of the predecessor's, beside the YAML or in the working directory.
fn taken_over(path: &Path, name: &str) -> Option<String> {
    let beside = path.parent().map(|dir| dir.join(name));
    let found = beside
        .into_iter()
        .chain([PathBuf::from(name)])
        .find_map(|place| {
            let is_small = std::fs::metadata(&place).is_ok_and(|found| found.len() <= SIZE_LIMIT);
            is_small
                .then(|| std::fs::read_to_string(&place).ok())
                .flatten()
        });
    found.filter(|prompt| !prompt.trim().is_empty())
}

fn names(own: &[String]) -> Vec<String> {
    let own: Vec<String> = own
        .iter()
        .map(|name| normal(name).trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if own.is_empty() {
        NAMES.map(str::to_owned).to_vec()
    } else {
        own
    }
}

impl Problem {
    fn with(self, what: Text) -> Self {
        Self { what, ..self }
    }
}

fn assemble(file: File, text: &str, language: Language) -> Result<Settings, (Option<usize>, Text)> {
    let has_manners = file.manners.is_none_or(|switch| switch.0);
    let personas: BTreeMap<String, Persona> = file
        .personas
        .iter()
        .map(|(name, entry)| (name.clone(), persona(entry, has_manners, language)))
        .collect();
    let named = file.persona.iter().chain(
        file.channels
            .values()
            .filter_map(|channel| channel.persona.as_ref()),
    );
    if let Some(name) = named.into_iter().find(|name| !personas.contains_key(*name)) {
        let what = Text::new(
            format!("persona「{name}」は personas の中にありません"),
            format!("there is no persona \"{name}\" among personas"),
        );
        return Err((line_of_persona(text, name), what));
    }
    let mut usual = file
        .persona
        .and_then(|name| personas.get(&name).cloned())
        .unwrap_or_else(|| Persona::built_in(language));
    if !has_manners {
        usual.law = Law::none();
    }
    let channels = file
        .channels
        .into_iter()
        .map(|(id, entry)| (id.0, entry.settled()))
        .collect();
    Ok(Settings {
        persona: usual,
        personas,
        channels,
        prices: Prices::new(
            file.prices
                .into_iter()
                .map(|(model, price)| (model.0.to_string(), price.0))
                .collect(),
        ),
        distress: Distress::new(&file.distress.words, file.distress.card.as_deref()),
        footer: file.footer.is_some_and(|switch| switch.0),
        silent: file.silent.is_some_and(|switch| switch.0),
        quiet_hours: file.quiet_hours.and_then(|quiet| quiet.0),
        names: names(&file.names),
        judge_prompt: None,
        remark_prompt: None,
        is_taken_over: false,
    })
}

fn persona(entry: &PersonaEntry, has_manners: bool, language: Language) -> Persona {
    let mut law = Law::new(&entry.avoid);
    if let Some(most) = entry.max_characters {
        law.max_characters = (most > 0).then_some(most);
    }
    if let Some(most) = entry.max_questions {
        law.max_questions = Some(most);
    }
    let is_lawful = entry.manners.map_or(has_manners, |switch| switch.0);
    let law = if is_lawful { law } else { Law::none() };
    match &entry.prompt {
        Some(prompt) => Persona::own(prompt, law, language),
        None => Persona {
            law,
            ..Persona::built_in(language)
        },
    }
}

fn line_of_persona(text: &str, name: &str) -> Option<usize> {
    let is_it = |line: &str| {
        line.split_once("persona:")
            .is_some_and(|(_, value)| value.contains(name))
    };
    text.lines().position(is_it).map(|at| at + 1)
}

/// The settings of a running bot.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    language: Language,
    stamp: Option<(SystemTime, u64)>,
    current: Arc<Settings>,
}

impl Live {
    /// Reads the file for the first time.
    pub fn open(path: &Path, language: Language) -> Result<Self, Problem> {
        let stamp = stamp(path);
        let current = Arc::new(Settings::load(path, language)?);
        Ok(Self {
            path: path.to_owned(),
            language,
            stamp,
            current,
        })
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.current)
    }

    /// Looks whether the file changed; `None` when not. A bad one changes nothing and is told once.
    pub fn look(&mut self) -> Option<Result<Arc<Settings>, Problem>> {
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return None;
        }
        self.stamp = stamp;
        Some(Settings::load(&self.path, self.language).map(|settings| {
            self.current = Arc::new(settings);
            self.current()
        }))
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}
