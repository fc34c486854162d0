//! Text that streams in → whole sentences, each with the white space before it.

/// Longer than this without an end is judged as it is.
const LONGEST: usize = 600;

/// Cuts a stream into sentences; nothing is lost and nothing is added.
#[derive(Debug, Clone, Default)]
pub(super) struct Sentences {
    pending: String,
}

impl Sentences {
    /// More text.
    pub(super) fn push(&mut self, text: &str) {
        self.pending.push_str(text);
    }

    /// The next sentence that is certainly whole: something else has begun after it.
    pub(super) fn next(&mut self) -> Option<String> {
        let end = end(&self.pending)?;
        Some(self.pending.drain(..end).collect())
    }

    /// What ended with its mark, when the stream pauses: only a closing bracket could still belong to it.
    pub(super) fn paused(&mut self) -> Option<String> {
        let ends = self.pending.trim_end().ends_with(is_end);
        ends.then(|| std::mem::take(&mut self.pending))
    }

    /// The next sentence when nothing more will come.
    pub(super) fn last(&mut self) -> Option<String> {
        self.next().or_else(|| {
            let rest = std::mem::take(&mut self.pending);
            (!rest.is_empty()).then_some(rest)
        })
    }
}

/// Where the first sentence of `text` ends, if that is certain.
fn end(text: &str) -> Option<usize> {
    let mut ended = false;
    let mut begun = false;
    let mut characters = text.char_indices().peekable();
    let mut count = 0;
    while let Some((at, c)) = characters.next() {
        count += 1;
        let closes = matches!(
            c,
            '」' | '』' | '）' | '】' | '"' | '\'' | ')' | '”' | '’' | '*' | '_' | '~'
        );
        // Mark, more marks and closing brackets belong to the sentence that they end.
        if ended && !closes && !is_end(c) && !(is_western_end(c)) && c != '…' {
            return Some(at);
        }
        if c == '\n' && begun {
            return Some(at + 1);
        }
        begun |= !c.is_whitespace();
        // `3.5` and `x?y=1` go on; `word. ` does not.
        let western = is_western_end(c)
            && characters
                .peek()
                .is_some_and(|(_, next)| next.is_whitespace() || !next.is_ascii());
        ended |= is_end(c) || western;
        if count >= LONGEST {
            return Some(at + c.len_utf8());
        }
    }
    None
}

fn is_end(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '⁇' | '⁈' | '⁉' | '．' | '❓' | '❔')
}

fn is_western_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?')
}
