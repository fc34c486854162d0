use super::lists::MUTISM_WORDS;
use super::*;
use crate::phrases::contains;

fn judged(text: &str, leave: Leave, cuts: impl Iterator<Item = usize>) -> (String, Verdict) {
    let mut judge = Judge::new(&Law::new(&[]), leave);
    let mut shown = String::new();
    let mut from = 0;
    for to in cuts.chain([text.len()]) {
        shown.push_str(&judge.feed(&text[from..to]));
        from = to;
    }
    let verdict = judge.finish();
    shown.push_str(&verdict.rest);
    assert_eq!(shown, judge.shown());
    (shown, verdict)
}

fn every_phrase() -> impl Iterator<Item = &'static str> {
    law_phrases().chain(MUTISM_WORDS.iter().copied())
}

fn whole(text: &str) -> (String, Verdict) {
    judged(text, Leave::default(), std::iter::empty())
}

#[test]
fn a_clean_answer_passes_untouched_and_at_once() {
    for text in [
        "おはよう",
        "おはよう。今日は静かですね。",
        "Good morning.\n- tea\n- rain\n",
        "3.5 度でした。見る？",
    ] {
        let (shown, verdict) = whole(text);
        assert_eq!(shown, text);
        assert_eq!(
            (verdict.left_out, verdict.more, verdict.is_empty),
            (0, false, false)
        );
    }
    let mut judge = Judge::new(&Law::new(&[]), Leave::default());
    assert_eq!(
        judge.feed("読みました。そ"),
        "読みました。",
        "a sentence is shown as soon as the next begins"
    );
}

#[test]
fn one_question_is_kept_and_the_others_left_out() {
    let (shown, verdict) = whole("そうですか。何色が好き？ どこで見た？ きれいですね。");
    assert_eq!(shown.matches('？').count(), 0, "ですか is a question too");
    assert!(verdict.left_out >= 2 && shown.contains("きれいですね。"));
    let (shown, _) = whole("雨ですね。何色が好き？どこで見ましたか。");
    assert_eq!(shown, "雨ですね。何色が好き？");
}

#[test]
fn what_urges_diagnoses_judges_or_rings_hollow_is_left_out() {
    for bad in law_phrases() {
        let text = format!("聞いています。 Well, {bad} ね。 ここにいます。");
        let (shown, verdict) = whole(&text);
        assert_eq!(verdict.left_out, 1, "{bad}");
        assert!(
            !contains(&normal(&shown), &normal(bad)) && shown.contains("ここにいます。"),
            "{bad}"
        );
    }
    assert!(
        whole("**頑\u{200b}張\nって** ください。").1.left_out > 0,
        "hidden by marks and line breaks"
    );
}

#[test]
fn mutism_is_named_only_after_the_member_did() {
    let text = "場面緘黙のことですね。";
    assert!(whole(text).1.is_empty);
    let leave = Leave::of("場面かんもくについて", &[]);
    assert_eq!(judged(text, leave, std::iter::empty()).0, text);
    assert!(Leave::of("", &["selective  Mutism"]).mutism);
}

#[test]
fn a_long_answer_ends_at_a_sentence_and_offers_more() {
    let text = "これは静かな文です。".repeat(40);
    let (shown, verdict) = whole(&text);
    assert!(verdict.more && shown.ends_with('。') && shown.chars().count() <= 300);
    let leave = Leave::of("もっと詳しく教えて", &[]);
    assert_eq!(judged(&text, leave, std::iter::empty()).0, text);
    let (shown, verdict) = whole(&format!("{}、{}", "あ".repeat(200), "い".repeat(400)));
    assert!(verdict.more && shown.ends_with("あ…") && !verdict.is_empty);
}

#[test]
fn everything_forbidden_leaves_nothing_and_there_are_words_for_that() {
    assert!(whole("頑張って！You should try harder.").1.is_empty);
    for language in [Language::Ja, Language::En] {
        assert_eq!(whole(instead(language)).0, instead(language));
        let again = rewrite(&Prompt::default(), "draft", language);
        assert_eq!(again.utterances.len(), 2);
    }
}

#[test]
fn without_a_law_nothing_is_held_back() {
    let mut judge = Judge::new(&Law::none(), Leave::default());
    assert_eq!(judge.feed("頑張って？？"), "頑張って？？");
    assert!(!judge.finish().is_empty);
}

/// Sentences from a grammar of good and bad ones, in both languages, glued in ways that hide their ends.
fn adversarial(seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let bad: Vec<&str> = every_phrase().collect();
    let good = [
        "そうなんですね",
        "雨の音がします",
        "I read it",
        "tea is warm",
        "3.5 cm",
        "- 一つ",
        "「静か」",
        "@everyone",
        "x?y=1",
    ];
    let ends = [
        "。", "？", "！？", ". ", "? ", "\n", "\n\n", "」", "…", "、", "** ", "", " ",
    ];
    let mut text = String::new();
    for _ in 0..random.usize(1..30) {
        let words = if random.u8(..3) == 0 {
            bad[random.usize(..bad.len())]
        } else {
            good[random.usize(..good.len())]
        };
        if random.u8(..8) == 0 && words.chars().count() > 1 {
            // A line break or a mark in the middle of the phrase.
            let at = words
                .char_indices()
                .nth(words.chars().count() / 2)
                .unwrap()
                .0;
            text.push_str(&words[..at]);
            text.push_str(["\n", "*", "\u{200b}"][random.usize(..3)]);
            text.push_str(&words[at..]);
        } else {
            text.push_str(words);
        }
        text.push_str(ends[random.usize(..ends.len())]);
    }
    text
}

#[test]
fn five_hundred_adversarial_answers_break_no_rule_at_any_cut() {
    let bad: Vec<String> = every_phrase().map(normal).collect();
    for seed in 0..500 {
        let text = adversarial(seed);
        let (whole, _) = whole(&text);
        // Cut at every character, and in random pieces: the same is shown.
        let every = text.char_indices().map(|(at, _)| at);
        assert_eq!(
            judged(&text, Leave::default(), every).0,
            whole,
            "seed {seed}"
        );
        assert!(whole.chars().count() <= 300, "seed {seed}");
        let mut marks = 0;
        let mut before = ' ';
        for c in whole.chars() {
            marks += usize::from(matches!(c, '?' | '？') && !matches!(before, '?' | '？'));
            before = c;
        }
        assert!(marks <= 1, "seed {seed}: {whole}");
        for phrase in &bad {
            assert!(
                !contains(&normal(&whole), phrase),
                "seed {seed}: {phrase} in {whole}"
            );
        }
    }
}

#[test]
fn a_whole_sentence_does_not_wait_for_the_next_when_the_stream_pauses() {
    let mut judge = Judge::new(&Law::new(&[]), Leave::default());
    assert_eq!(judge.feed("はじめに。"), "");
    assert_eq!(judge.pause(), "はじめに。");
    assert_eq!(judge.feed("つぎ"), "");
    assert_eq!(judge.pause(), "", "half a sentence waits");
    let shown = judge.feed("は。") + &judge.finish().rest;
    assert_eq!(shown, "つぎは。");
}

/// Bytes as they come from a network, cut at every one of them: what is not yet a whole character waits.
fn byte_by_byte(text: &str, mut hear: impl FnMut(&str)) {
    let mut waiting = Vec::new();
    for byte in text.bytes() {
        waiting.push(byte);
        if let Ok(whole) = std::str::from_utf8(&waiting) {
            hear(whole);
            waiting.clear();
        }
    }
    assert!(waiting.is_empty());
}

#[test]
fn five_hundred_adversarial_answers_break_no_rule_and_ping_nobody_byte_by_byte() {
    let bad: Vec<String> = every_phrase().map(normal).collect();
    for seed in 500..1000 {
        let text = adversarial(seed);
        let mut judge = Judge::new(&Law::new(&[]), Leave::default());
        let mut steps = 0;
        byte_by_byte(&text, |piece| {
            let allowed = judge.feed(piece);
            if allowed.is_empty() {
                return;
            }
            steps += 1;
            // What is on the screen at this moment, as it is sent.
            let shown = crate::reply::ping_proof(judge.shown());
            assert!(
                !shown.contains("@everyone") && !shown.contains("<@"),
                "seed {seed}"
            );
            let shown = normal(&shown);
            let broken = bad.iter().find(|phrase| contains(&shown, phrase));
            assert_eq!(broken, None, "seed {seed}, step {steps}: {shown}");
            assert!(judge.shown().chars().count() <= 300, "seed {seed}");
        });
        judge.finish();
        assert_eq!(judge.shown(), whole(&text).0, "seed {seed}");
    }
}

/// A clean answer is complete on the screen when its last byte has come: no rewrite, no wait. Within it, a sentence is
/// shown when the next one begins, so that the median character waits for its sentence and for nothing else.
#[test]
fn a_clean_answer_is_not_held_up() {
    let sentences = [
        "そうなんですね。",
        "雨の音がします。",
        "お茶が温かいです。",
        "I read it. ",
        "The tea is warm. ",
        "It rained here too. ",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let (mut behind, mut micros) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let text: String = (0..random.usize(1..12))
            .map(|_| sentences[random.usize(..sentences.len())])
            .collect();
        let mut judge = Judge::new(&Law::new(&[]), Leave::default());
        let begun = std::time::Instant::now();
        byte_by_byte(&text, |piece| {
            judge.feed(piece);
        });
        let verdict = judge.finish();
        micros.push(begun.elapsed().as_micros());
        behind.push(text.len() - judge.shown().len());
        let flags = (verdict.is_empty, verdict.more, verdict.left_out);
        assert_eq!(flags, (false, false, 0), "{text}");
    }
    behind.sort_unstable();
    micros.sort_unstable();
    println!(
        "after the last byte of 500 clean answers: {} bytes still held back (median), {} at most; the law took {} µs for a whole answer (median, unoptimised)",
        behind[250], behind[499], micros[250]
    );
    assert_eq!((behind[250], behind[499]), (0, 0));
}
