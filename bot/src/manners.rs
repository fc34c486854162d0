//! The persona's law as far as a program can hold it: every sentence of ours is looked at before anyone sees it. Pure.
//!
//! At most so many characters unless more was asked for, at most one question, none of the phrases that urge,
//! diagnose, judge or ring hollow, and no naming of 場面緘黙 unless the member did.

use std::time::Duration;

use daemon_kit::text::Language;

use crate::llm::{Prompt, Role, Utterance};
use crate::phrases::{Phrases, normal};

mod lists;
mod sentences;
#[cfg(test)]
mod tests;

pub use lists::distress_words;
use lists::{MORE, MUTISM, law_phrases};
use sentences::Sentences;

/// How an answer may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Law {
    /// Longest answer in characters when nobody asked for more; `None` = no bound.
    pub max_characters: Option<usize>,
    /// Most questions in one answer; `None` = no bound.
    pub max_questions: Option<usize>,
    /// Never said.
    avoided: Phrases,
}

impl Law {
    /// The built-in law, with the owner's own phrases added.
    #[must_use]
    pub fn new(avoid: &[String]) -> Self {
        let built_in = law_phrases().map(str::to_owned);
        Self {
            max_characters: Some(300),
            max_questions: Some(1),
            avoided: built_in.chain(avoid.iter().cloned()).collect(),
        }
    }

    /// No law: whatever the model says.
    #[must_use]
    pub fn none() -> Self {
        Self {
            max_characters: None,
            max_questions: None,
            avoided: Phrases::default(),
        }
    }

    /// Whether there is anything to look at.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }
}

/// What the member's own words allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leave {
    /// They asked for more, for detail, for code, for a list.
    pub more: bool,
    /// They named 場面緘黙 themselves.
    pub mutism: bool,
}

impl Leave {
    /// Read from the question and from what was said before it.
    #[must_use]
    pub fn of(question: &str, history: &[&str]) -> Self {
        let asked = normal(question);
        Self {
            more: matches!(asked.trim(), "もっと" | "more") || MORE.are_in_normal(&asked),
            mutism: MUTISM.are_in_normal(&asked) || history.iter().any(|said| MUTISM.are_in(said)),
        }
    }
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The last of what may be shown.
    pub rest: String,
    /// There was more than fits: offer 「もっと」.
    pub more: bool,
    /// How many sentences were left out for what they say.
    pub left_out: usize,
    /// Nothing at all may be shown: rewrite once, or say [`instead`].
    pub is_empty: bool,
}

/// Looks at one answer while it streams.
#[derive(Debug, Clone)]
pub struct Judge {
    law: Law,
    leave: Leave,
    sentences: Sentences,
    /// What was shown, for phrases that two sentences make together.
    shown: String,
    questions: usize,
    left_out: usize,
    more: bool,
}

impl Judge {
    /// For one answer.
    #[must_use]
    pub fn new(law: &Law, leave: Leave) -> Self {
        Self {
            law: law.clone(),
            leave,
            sentences: Sentences::default(),
            shown: String::new(),
            questions: 0,
            left_out: 0,
            more: false,
        }
    }

    /// More of the answer came; returns what may be shown of it now.
    pub fn feed(&mut self, delta: &str) -> String {
        if self.law.is_none() {
            self.shown.push_str(delta);
            return delta.to_owned();
        }
        self.sentences.push(delta);
        let mut allowed = String::new();
        while let Some(sentence) = self.sentences.next() {
            allowed.push_str(&self.judge(&sentence));
        }
        allowed
    }

    /// The stream pauses: a sentence that ended with its mark need not wait for the next one.
    pub fn pause(&mut self) -> String {
        let sentence = self.sentences.paused();
        sentence
            .map(|sentence| self.judge(&sentence))
            .unwrap_or_default()
    }

    /// The answer is complete.
    pub fn finish(&mut self) -> Verdict {
        let mut rest = String::new();
        while let Some(sentence) = self.sentences.last() {
            rest.push_str(&self.judge(&sentence));
        }
        let is_empty = self.shown.trim().is_empty();
        Verdict {
            rest,
            more: self.more,
            left_out: self.left_out,
            is_empty,
        }
    }

    /// Another attempt begins; nothing of the last one counts.
    pub fn restart(&mut self) {
        *self = Self::new(&self.law, self.leave);
    }

    /// All that may be shown so far.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn judge(&mut self, sentence: &str) -> String {
        // What does not fit ends the answer: a later, shorter sentence must not stand in its place.
        if self.more {
            return String::new();
        }
        let questions = questions(sentence);
        let too_many = self
            .law
            .max_questions
            .is_some_and(|most| self.questions + questions > most);
        if too_many && questions > 0 || self.is_forbidden(sentence) {
            self.left_out += 1;
            return String::new();
        }
        let allowed = match self.room() {
            Some(room) if sentence.chars().count() > room => {
                self.more = true;
                self.abridge(sentence, room)
            }
            _ => sentence.to_owned(),
        };
        self.questions += if allowed.is_empty() { 0 } else { questions };
        self.shown.push_str(&allowed);
        allowed
    }

    fn room(&self) -> Option<usize> {
        let most = self.law.max_characters.filter(|_| !self.leave.more)?;
        Some(most.saturating_sub(self.shown.chars().count()))
    }

    /// A first sentence that is too long is shortened rather than swallowed.
    fn abridge(&self, sentence: &str, room: usize) -> String {
        if !self.shown.trim().is_empty() || room < 2 {
            return String::new();
        }
        let beginning: String = sentence.chars().take(room - 1).collect();
        let end = beginning
            .rfind(['、', ',', ' ', '　'])
            .filter(|end| *end > beginning.len() / 2);
        format!(
            "{}…",
            beginning[..end.unwrap_or(beginning.len())].trim_end()
        )
    }

    fn is_forbidden(&self, sentence: &str) -> bool {
        let tail_start = self
            .shown
            .char_indices()
            .rev()
            .nth(60)
            .map_or(0, |(at, _)| at);
        let before = &self.shown[tail_start..];
        let alone = normal(sentence);
        let together = (!before.is_empty()).then(|| normal(&format!("{before}{sentence}")));
        let says = |phrases: &Phrases| {
            let together = together.as_deref();
            phrases.are_in_normal(&alone)
                || together.is_some_and(|text| phrases.are_in_normal(text))
        };
        let avoided = &self.law.avoided;
        says(avoided) || (!avoided.is_empty() && !self.leave.mutism && says(&MUTISM))
    }
}

/// How many questions a sentence asks: runs of question marks, or a Japanese ending that needs none.
fn questions(sentence: &str) -> usize {
    let mut marks = 0;
    let mut before = false;
    for c in sentence.chars() {
        let is_mark = matches!(c, '?' | '？' | '⁇' | '⁈' | '⁉' | '❓' | '❔');
        marks += usize::from(is_mark && !before);
        before = is_mark;
    }
    let end = sentence
        .trim_end()
        .trim_end_matches(['。', '」', '』', '…', '！', '!']);
    let is_spoken_question = [
        "ですか",
        "ますか",
        "でしょうか",
        "ませんか",
        "かな",
        "ましたか",
        "でしたか",
    ];
    marks.max(usize::from(
        is_spoken_question
            .iter()
            .any(|ending| end.ends_with(ending)),
    ))
}

/// Another wording that takes longer than this is not waited for.
pub const REWRITE_WITHIN: Duration = Duration::from_secs(20);

/// The prompt for the one silent rewrite: the draft, and what was wrong with it.
#[must_use]
pub fn rewrite(prompt: &Prompt, draft: &str, language: Language) -> Prompt {
    let mut again = prompt.clone();
    again
        .utterances
        .push(Utterance::new(Role::Companion, draft));
    again.utterances.push(Utterance::new(
        Role::Member,
        match language {
            Language::Ja => {
                "（いまの返事は、この場の約束に合いませんでした。励まし・診断・評価・決まり文句を使わず、質問は多くて一つ、\
                 短く静かな言葉で言い直してください。言い直した返事だけを書いてください）"
            }
            Language::En => {
                "(That answer did not keep the manners of this place. Say it again in few quiet words, without urging, \
                 diagnosing, judging or stock phrases, with one question at most. Write only the new answer.)"
            }
        },
    ));
    again
}

/// What is said when no wording of the model's may be shown.
#[must_use]
pub fn instead(language: Language) -> &'static str {
    match language {
        Language::Ja => "ちゃんと読みました。うまい言葉が見つからないけれど、ここにいます。",
        Language::En => "I read it. I have not found the right words yet, but I am here.",
    }
}
