//! Phrases looked for in what people and models write, however it is spaced, set or written. Pure.

use std::sync::Arc;

use memchr::memmem::Finder;

/// Phrases, made ready once to be looked for often. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phrases(Arc<[Finder<'static>]>);

impl PartialEq for Phrases {
    fn eq(&self, other: &Self) -> bool {
        let theirs = other.0.iter().map(Finder::needle);
        self.0.iter().map(Finder::needle).eq(theirs)
    }
}

impl Eq for Phrases {}

impl Phrases {
    /// Whether there is nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is in `text`.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.are_in_normal(&normal(text))
    }

    /// The same for a text that is [`normal`] already.
    pub(crate) fn are_in_normal(&self, text: &str) -> bool {
        let whole = |finder: &Finder<'_>| {
            let mut found = finder.find_iter(text.as_bytes());
            found.any(|at| is_whole(text, at, finder.needle().len()))
        };
        self.0.iter().any(whole)
    }
}

/// Blank ones are left out: they would be in everything.
impl<T: AsRef<str>> FromIterator<T> for Phrases {
    fn from_iter<I: IntoIterator<Item = T>>(phrases: I) -> Self {
        let phrases = phrases.into_iter().map(|phrase| normal(phrase.as_ref()));
        let phrases = phrases.filter(|phrase| !phrase.trim().is_empty());
        Self(
            phrases
                .map(|phrase| Finder::new(&phrase).into_owned())
                .collect(),
        )
    }
}

/// Text as phrases are looked for in it: lower case, no invisible characters, one form of width and apostrophe,
/// white space between Latin words as one space and elsewhere not at all.
pub(crate) fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        let c = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            '’' | '‘' | 'ʼ' => '\'',
            _ => c,
        };
        if c.is_whitespace() {
            gap = true;
            continue;
        }
        // Marks that set words in bold or hide between letters say nothing.
        if matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '*' | '_' | '~' | '`' | '|'
        ) {
            continue;
        }
        let latin_before = normal
            .chars()
            .next_back()
            .is_some_and(|before| before.is_ascii());
        if gap && latin_before && c.is_ascii() {
            normal.push(' ');
        }
        gap = false;
        normal.extend(c.to_lowercase());
    }
    normal
}

/// Whether `phrase` is in `text` (both [`normal`]); Latin words only as whole words.
pub(crate) fn contains(text: &str, phrase: &str) -> bool {
    let mut found = text.match_indices(phrase);
    found.any(|(at, _)| is_whole(text, at, phrase.len()))
}

/// Whether what stands at `at` is no part of a longer Latin word.
fn is_whole(text: &str, at: usize, length: usize) -> bool {
    let (before, rest) = text.split_at(at);
    let (phrase, after) = rest.split_at(length);
    let is_latin = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let goes_on = |one: Option<char>, next: Option<char>| is_latin(one) && is_latin(next);
    !goes_on(before.chars().next_back(), phrase.chars().next())
        && !goes_on(phrase.chars().next_back(), after.chars().next())
}
