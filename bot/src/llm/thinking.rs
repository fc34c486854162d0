//! Takes a model's reasoning out of its answer while it streams: `<think>…</think>`, and a lone `</think>`.

/// What a piece of the stream means for what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// More visible text.
    Text(String),
    /// What was shown so far was reasoning after all: only its closing tag came.
    Void,
}

const OPENING: [&str; 2] = ["<think>", "<thinking>"];
const CLOSING: [&str; 2] = ["</think>", "</thinking>"];

/// Knows at every cut of the stream what is reasoning and what is answer.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// Not yet decided: may be the beginning of a tag.
    held: String,
    inside: bool,
    /// Whether visible text other than white space was given out.
    begun: bool,
    /// The character before `held`: a tag in `code` is talked about, not used.
    before: Option<char>,
}

impl Thinking {
    /// More of the stream.
    pub(super) fn feed(&mut self, text: &str) -> Vec<Shown> {
        self.held.push_str(text);
        let mut shown = Vec::new();
        while self.step(&mut shown) {}
        shown
    }

    /// The stream ended: what was held back only looked like a tag.
    pub(super) fn finish(&mut self) -> Vec<Shown> {
        let mut shown = Vec::new();
        let held = std::mem::take(&mut self.held);
        if !self.inside {
            self.show(&held, &mut shown);
        }
        shown
    }

    /// Decides about `held` up to and including the next tag; false when more must come first.
    fn step(&mut self, shown: &mut Vec<Shown>) -> bool {
        let Some(at) = self.held.find('<') else {
            let all = std::mem::take(&mut self.held);
            self.pass(&all, shown);
            return false;
        };
        let ahead: String = self.held.drain(..at).collect();
        self.pass(&ahead, shown);
        let quoted = self.before == Some('`');
        let lower = self.held.to_ascii_lowercase();
        if !quoted && let Some(tag) = self.tags().iter().find(|tag| lower.starts_with(**tag)) {
            self.held.drain(..tag.len());
            self.cross(tag.starts_with("</"), shown);
            return true;
        }
        if !quoted && self.tags().iter().any(|tag| tag.starts_with(&lower)) {
            return false;
        }
        // A `<` of another kind.
        self.held.drain(..1);
        self.pass("<", shown);
        true
    }

    fn tags(&self) -> Vec<&'static str> {
        // Reasoning is left by its closing tag alone; outside, both may come.
        let opening: &[&str] = if self.inside { &[] } else { &OPENING };
        opening.iter().chain(&CLOSING).copied().collect()
    }

    fn cross(&mut self, closing: bool, shown: &mut Vec<Shown>) {
        if closing && !self.inside {
            shown.clear();
            if self.begun {
                shown.push(Shown::Void);
            }
            self.begun = false;
        }
        self.inside = !closing;
        self.before = None;
    }

    fn pass(&mut self, text: &str, shown: &mut Vec<Shown>) {
        if let Some(last) = text.chars().next_back() {
            self.before = Some(last);
        }
        if !self.inside {
            self.show(text, shown);
        }
    }

    fn show(&mut self, text: &str, shown: &mut Vec<Shown>) {
        // An answer does not begin with the blank lines that reasoning left behind.
        let text = if self.begun { text } else { text.trim_start() };
        if text.is_empty() {
            return;
        }
        self.begun = true;
        match shown.last_mut() {
            Some(Shown::Text(last)) => last.push_str(text),
            _ => shown.push(Shown::Text(text.to_owned())),
        }
    }
}
