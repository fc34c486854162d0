use proptest::prelude::*;

use super::*;

fn within(text: &str) -> bool {
    text.encode_utf16().count() <= LIMIT && !text.trim().is_empty()
}

/// What is left of a text when page breaks may eat white space.
fn ink(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn a_short_answer_is_one_message_and_nothing_is_none() {
    assert_eq!(parts("おはよう"), ["おはよう"]);
    assert_eq!(parts(&"あ".repeat(2000)), ["あ".repeat(2000)]);
    assert!(parts("").is_empty() && parts(" \n ").is_empty());
}

#[test]
fn the_number_is_inside_the_limit() {
    // The predecessor's seventh bug: 2,011 characters, refused by Discord, the rest lost.
    for length in 1985..2030 {
        let parts = parts(&"あ".repeat(length));
        assert!(parts.iter().all(|part| within(part)), "{length}");
        assert_eq!(parts.len(), if length <= 2000 { 1 } else { 2 });
    }
    let parts = parts(&"い".repeat(2001));
    assert!(parts[0].starts_with("**(1/2)**\n\n") && parts[1].starts_with("**(2/2)**\n\n"));
}

#[test]
fn an_early_delimiter_makes_no_tiny_part() {
    // Its eighth: a line end after 15 characters made a part of 15 characters.
    let text = format!("短い文です。\n{}。{}", "あ".repeat(1500), "い".repeat(1500));
    let pages = pages(&text);
    assert!(pages[0].ends_with("あ。") && pages[0].chars().count() > 1000);
}

#[test]
fn sentences_stay_whole_and_the_mark_stays_on_the_left() {
    let pages = pages(&"これは文です。".repeat(400));
    assert!(
        pages
            .iter()
            .all(|page| page.ends_with('。') && page.starts_with('こ'))
    );
}

#[test]
fn fences_are_closed_and_opened_again_with_their_language() {
    let lines = (0..300).map(|n| format!("    let x{n} = {n};\n"));
    let code = lines.collect::<Vec<_>>().concat();
    let pages = pages(&format!("説明です。\n```rust\n{code}```\nおわり。"));
    assert!(pages.len() > 2);
    for page in &pages {
        assert!(within(page));
        assert_eq!(page.matches("```").count() % 2, 0, "{page}");
    }
    assert!(
        pages[1].starts_with("```rust\n    let x"),
        "indentation and language stay"
    );
}

#[test]
fn a_late_fence_moves_to_the_next_page_whole() {
    let pages = pages(&format!(
        "{}\n```py\n{}\n```",
        "あ".repeat(1200),
        "x = 1\n".repeat(200)
    ));
    assert_eq!(pages.len(), 2);
    assert!(!pages[0].contains("```") && pages[1].starts_with("```py\n"));
}

#[test]
fn people_see_whole_characters() {
    let family = "👨‍👩‍👧‍👦";
    for page in pages(&family.repeat(400)) {
        assert_eq!(page.replace(family, ""), "");
    }
    // One endless cluster is noise, and still within bounds.
    let noise = format!("e{}", "\u{301}".repeat(5000));
    assert!(pages(&noise).iter().all(|page| within(page)));
}

proptest! {

    #[test]
    fn nothing_is_lost_and_nothing_is_too_long(pieces in proptest::collection::vec("(あ{1,300}。?|[a-z ]{1,200}\\.? ?|\n{1,3}|😀{1,80}|x{900})", 1..30)) {
        let text = pieces.concat();
        let parts = parts(&text);
        let count = parts.len();
        let mut whole = String::new();
        for (place, part) in parts.iter().enumerate() {
            prop_assert!(within(part));
            let number = format!("**({}/{count})**\n\n", place + 1);
            whole.push_str(if count > 1 { part.strip_prefix(&number).unwrap() } else { part });
        }
        prop_assert_eq!(ink(&whole), ink(&text));
    }

    #[test]
    fn fences_are_whole_on_every_page(pieces in proptest::collection::vec("(あ{1,400}。|\n```\n|```|`|[a-z =;]{1,300}\n)", 1..30)) {
        let text = pieces.concat();
        let pages = pages(&text);
        for page in pages.iter().rev().skip(1) {
            prop_assert!(within(page));
            prop_assert_eq!(page.matches("```").count() % 2, 0);
        }
        let without_ticks = |text: &str| ink(text).replace('`', "");
        prop_assert_eq!(without_ticks(&pages.concat()), without_ticks(&text));
    }

    /// A growing answer never changes what stands above its last message.
    #[test]
    fn earlier_pages_stay_as_they_are(pieces in proptest::collection::vec("(あ{1,300}。|[a-z ]{1,200}\\. |\n|```\n)", 1..40)) {
        let mut text = String::new();
        let mut before: Vec<String> = Vec::new();
        for piece in pieces {
            text.push_str(&piece);
            let now = pages(&text);
            if before.len() > 1 {
                let kept = before.len() - 1;
                prop_assert_eq!(&now[..kept.min(now.len())], &before[..kept.min(now.len())]);
            }
            before = now;
        }
    }

    /// At every split of the stream, nothing that was sent so far pings.
    #[test]
    fn no_beginning_of_an_answer_pings(pieces in proptest::collection::vec("(@everyone|@here|@|every|one|here|<@|<@&|<@!|123>|<|\u{200b}|[a-z ]{0,4}|\\[|\\]\\(https://x\\))", 0..20)) {
        let text = pieces.concat();
        for (cut, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let proof = ping_proof(&text[..cut]);
            let lower = proof.to_lowercase();
            prop_assert!(!lower.contains("@everyone") && !lower.contains("@here") && !proof.contains("<@1"), "{proof}");
            prop_assert!(!proof.contains("<@&1") && !proof.contains("<@!1"));
            prop_assert_eq!(ping_proof(&proof), proof);
        }
    }
}

#[test]
fn links_show_where_they_lead_and_hidden_characters_go() {
    assert_eq!(
        ping_proof("[公式](https://evil.example/x) です"),
        "公式 <https://evil.example/x> です"
    );
    assert_eq!(
        ping_proof("array[i](x) and [note](below)"),
        "array[i](x) and [note](below)"
    );
    assert_eq!(ping_proof("a\u{202e}b\u{0007}c\u{200b}d"), "abcd");
    assert_eq!(ping_proof("👨‍👩‍👧"), "👨‍👩‍👧");
    assert_eq!(
        ping_proof("<@123> @Everyone"),
        "<@\u{200b}123> @\u{200b}Everyone"
    );
}

#[test]
fn edits_keep_their_distance() {
    let mut cadence = EditCadence::default();
    let at = Duration::from_millis;
    assert_eq!(cadence.due_in(at(0)), Duration::ZERO);
    cadence.edited(at(100));
    assert_eq!(cadence.due_in(at(300)), at(1000));
    assert_eq!(cadence.due_in(at(1300)), Duration::ZERO);
}
