//! Takes the sting out of a model's words: no pings, no hidden addresses, no invisible characters.
//!
//! Discord is told `allowed_mentions: {"parse": []}` as well; this is the second lock on the same door.

/// Deeper than this no client shows a link.
const MOST_NESTED_LINKS: usize = 64;
const ZERO_WIDTH_SPACE: char = '\u{200b}';

/// `text` as it may be sent. Always for a whole answer so far, so that no cut of the stream can hide a mention.
#[must_use]
pub fn ping_proof(text: &str) -> String {
    let visible: String = text.chars().filter(|c| is_wanted(*c)).collect();
    let mut open_links = visible;
    // A link inside another comes to light only when the inner one is open.
    for _ in 0..MOST_NESTED_LINKS {
        let opened = unmask_links(&open_links);
        if opened == open_links {
            break;
        }
        open_links = opened;
    }
    let mut proof = String::with_capacity(open_links.len() + 16);
    let mut before = None;
    for (at, c) in open_links.char_indices() {
        proof.push(c);
        if c == '@' && (before == Some('<') || names_everyone(&open_links[at + 1..])) {
            proof.push(ZERO_WIDTH_SPACE);
        }
        before = Some(c);
    }
    proof
}

fn names_everyone(after: &str) -> bool {
    ["everyone", "here"].iter().any(|name| {
        after
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    })
}

/// Control characters break terminals, direction overrides turn text around, zero-width ones hide words.
/// The joiner stays: emoji and many scripts are made with it.
fn is_wanted(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\n' | '\t');
    let hidden = matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !control && !hidden
}

/// `[words](https://…)` shows its words and hides where it leads: show both.
fn unmask_links(text: &str) -> String {
    let mut open = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("](") {
        let (before, after) = rest.split_at(at);
        let target = &after[2..];
        let words = before
            .rfind('[')
            .filter(|from| !before[*from..].contains('\n'));
        let end = target
            .find([')', '\n'])
            .filter(|end| target[*end..].starts_with(')'));
        let is_address = |address: &str| {
            let address = address.trim_start_matches('<').to_ascii_lowercase();
            address.starts_with("http:")
                || address.starts_with("https:")
                || address.starts_with("discord:")
        };
        match (words, end) {
            (Some(from), Some(end)) if is_address(&target[..end]) => {
                open.push_str(&before[..from]);
                open.push_str(&before[from + 1..]);
                open.push(' ');
                open.push('<');
                open.push_str(target[..end].trim_matches(['<', '>']));
                open.push('>');
                rest = &target[end + 1..];
            }
            _ => {
                open.push_str(before);
                open.push_str("](");
                rest = target;
            }
        }
    }
    open.push_str(rest);
    open
}
