//! An answer → messages that Discord takes: ≤ 2,000 characters, fences whole, nobody pinged, edited calmly. Pure.

use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation;

mod ping;
#[cfg(test)]
mod tests;

pub use ping::ping_proof;

/// What Discord takes in one message. Counted in UTF-16 units, which are never fewer than its characters.
pub const LIMIT: usize = 2000;
/// What a page may hold when a number goes before it: `**(999/999)**` and two line breaks.
const NUMBERED_LIMIT: usize = LIMIT - 15;
const FENCE: &str = "```";
/// A longer language name after a fence is not one.
const FENCE_NAME_LIMIT: usize = 20;

/// The messages of a finished answer: numbered when there are several.
#[must_use]
pub fn parts(text: &str) -> Vec<String> {
    let pages = pages(text);
    let count = pages.len();
    if count < 2 {
        return pages;
    }
    pages
        .into_iter()
        .enumerate()
        .map(|(place, page)| format!("**({}/{count})**\n\n{page}", place + 1))
        .collect()
}

/// The same without numbers, for an answer that still grows: what comes later changes no earlier page but the last
/// (and the only page once, when a second one begins).
#[must_use]
pub fn pages(text: &str) -> Vec<String> {
    let text = text.trim_end();
    if units(text) <= LIMIT {
        return if text.trim().is_empty() {
            Vec::new()
        } else {
            vec![text.to_owned()]
        };
    }
    let mut pages = Vec::new();
    let mut rest = text;
    let mut open: Option<String> = None;
    loop {
        let head = open
            .as_ref()
            .map(|fence| format!("{fence}\n"))
            .unwrap_or_default();
        if units(&head) + units(rest) <= NUMBERED_LIMIT {
            push(&mut pages, format!("{head}{rest}"));
            return pages;
        }
        let room = NUMBERED_LIMIT - units(&head) - FENCE.len() - 1;
        let (page, next) = rest.split_at(cut(rest, room, open.is_some()));
        open = fence_after(page, open);
        if open.is_some() {
            push(
                &mut pages,
                format!("{head}{}\n{FENCE}", page.trim_end_matches('\n')),
            );
            // Indentation inside code stays; only the line break that became a page break goes.
            rest = next.strip_prefix('\n').unwrap_or(next);
        } else {
            push(&mut pages, format!("{head}{}", page.trim_end()));
            rest = next.trim_start();
        }
    }
}

/// Discord refuses messages without a visible character.
fn push(pages: &mut Vec<String>, page: String) {
    if !page.trim().is_empty() {
        pages.push(page);
    }
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Where to end a page that may hold `room` units, in bytes; at least one character is taken.
fn cut(rest: &str, room: usize, inside: bool) -> usize {
    let window = &rest[..window_end(rest, room)];
    let half = window.len() / 2;
    let spans = fences(window, inside);
    let is_outside = |at: usize| !spans.iter().any(|span| span.start < at && at < span.end);

    for mark in [
        "。\n", "\n\n", "。", "\n", ". ", "! ", "? ", "！", "？", "、", "，", " ",
    ] {
        let ends = window
            .rmatch_indices(mark)
            .map(|(at, mark)| at + mark.len());
        if let Some(end) = ends
            .take_while(|end| *end >= half)
            .find(|end| is_outside(*end))
        {
            return end;
        }
    }
    if let Some(span) = spans.last().filter(|span| span.end > window.len()) {
        // A fence that begins late goes to the next page whole, if it can.
        if span.start >= window.len() / 4 && span.start > 0 {
            return span.start;
        }
        if let Some(line_end) = window.rfind('\n').filter(|at| *at >= half) {
            return line_end + 1;
        }
    }
    before_ticks(window)
}

/// The longest beginning of `rest` within `room` units that ends between two characters as people see them.
fn window_end(rest: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, cluster) in rest.grapheme_indices(true) {
        used += units(cluster);
        if used > room {
            if at > 0 {
                return at;
            }
            // One cluster longer than a page is noise: cut it anywhere.
            let mut used = 0;
            let fits = |c: &char| {
                used += c.len_utf16();
                used <= room
            };
            return rest.chars().take_while(fits).map(char::len_utf8).sum();
        }
    }
    rest.len()
}

/// A hard cut never tears a fence mark apart.
fn before_ticks(window: &str) -> usize {
    let kept = window.trim_end_matches('`').len();
    if kept > 0 && window.len() - kept < FENCE.len() * 2 {
        kept
    } else {
        window.len()
    }
}

/// The stretches of `text` inside fences, marks included; one without end ends beyond the text.
fn fences(text: &str, inside: bool) -> Vec<std::ops::Range<usize>> {
    let mut spans = Vec::new();
    let mut start = inside.then_some(0);
    for (at, mark) in text.match_indices(FENCE) {
        match start.take() {
            Some(start) => spans.push(start..at + mark.len()),
            None => start = Some(at),
        }
    }
    spans.extend(start.map(|start| start..text.len() + 1));
    spans
}

/// The fence that is open at the end of `page`, as it must be opened again on the next.
fn fence_after(page: &str, open: Option<String>) -> Option<String> {
    let mut open = open;
    for (at, _) in page.match_indices(FENCE) {
        if open.take().is_some() {
            continue;
        }
        let line = page[at + FENCE.len()..]
            .split('\n')
            .next()
            .unwrap_or_default();
        let is_name = line.len() <= FENCE_NAME_LIMIT
            && line
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '.' | '_'));
        open = Some(if is_name {
            format!("{FENCE}{line}")
        } else {
            FENCE.to_owned()
        });
    }
    open
}

/// When a growing answer may be edited again: Discord's limit is undocumented, and calm to look at it is too.
#[derive(Debug, Clone, Copy)]
pub struct EditCadence {
    least: Duration,
    last: Option<Duration>,
}

impl Default for EditCadence {
    fn default() -> Self {
        Self {
            least: Duration::from_millis(1200),
            last: None,
        }
    }
}

impl EditCadence {
    /// How long to wait still; times are counted from the turn's beginning.
    #[must_use]
    pub fn due_in(&self, now: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| {
            (last + self.least).saturating_sub(now)
        })
    }

    /// A message was sent or edited.
    pub fn edited(&mut self, now: Duration) {
        self.last = Some(now);
    }
}
