//! Words by which a conversation shows that it ends, that it is nobody else's, or that it wants quiet; and our name.
//! Fixed lists, on purpose: what they miss the judge may still see, and what they take too widely ends in silence. Pure.

use std::sync::LazyLock;

use crate::phrases::{Phrases, contains, normal};

/// A conversation is winding down.
static ENDINGS: LazyLock<Phrases> = LazyLock::new(|| ENDING_WORDS.iter().collect());
/// A conversation is serious, or meant for those who are in it.
static PRIVATE: LazyLock<Phrases> = LazyLock::new(|| PRIVATE_WORDS.iter().collect());

const ENDING_WORDS: &[&str] = &[
    "おやすみ",
    "お休みなさい",
    "またね",
    "また明日",
    "またあした",
    "また今度",
    "またこんど",
    "また後で",
    "またあとで",
    "じゃあまた",
    "ではまた",
    "それではまた",
    "じゃあね",
    "さようなら",
    "さよなら",
    "ばいばい",
    "バイバイ",
    "ありがとう",
    "ありがと",
    "お疲れ",
    "おつかれ",
    "お先に",
    "そろそろ",
    "寝ます",
    "寝るね",
    "落ちます",
    "落ちるね",
    "抜けます",
    "抜けるね",
    "解散",
    "これで終わり",
    "以上です",
    "この話はここまで",
    "good night",
    "goodnight",
    "gn",
    "bye",
    "goodbye",
    "see you",
    "see ya",
    "cya",
    "ttyl",
    "talk to you later",
    "talk later",
    "thanks",
    "thank you",
    "thx",
    "ty",
    "got to go",
    "gotta go",
    "gtg",
    "g2g",
    "heading to bed",
    "off to bed",
    "take care",
    "that's all",
    "let's leave it",
    "let's wrap up",
];

const PRIVATE_WORDS: &[&str] = &[
    "ここだけの話",
    "内緒",
    "ないしょ",
    "秘密",
    "ひみつ",
    "誰にも言わない",
    "だれにも言わない",
    "病院",
    "入院",
    "診断",
    "薬を",
    "離婚",
    "別れた",
    "亡くな",
    "葬式",
    "お葬式",
    "お通夜",
    "いじめ",
    "虐待",
    "泣いて",
    "泣いた",
    "つらい",
    "辛い",
    "しんどい",
    "secret",
    "between us",
    "don't tell anyone",
    "private",
    "hospital",
    "diagnosis",
    "diagnosed",
    "divorce",
    "broke up",
    "passed away",
    "funeral",
    "abuse",
    "abused",
    "bullied",
    "bullying",
    "crying",
    "i cried",
];

/// A whole message that asks for quiet, when names, courtesies and marks are taken off.
const HUSHES: &[&str] = &[
    "静かにして",
    "しずかにして",
    "静かにしてて",
    "しずかにしてて",
    "静かにしていて",
    "静かに",
    "しずかに",
    "黙って",
    "だまって",
    "黙ってて",
    "だまってて",
    "黙っていて",
    "話さないで",
    "be quiet",
    "stay quiet",
    "keep quiet",
    "quiet",
    "hush",
    "shut up",
    "stop talking",
];

/// Taken off the beginning of a message before it is looked at whole.
const BEFORE: &[&str] = &[
    "ねえ",
    "ちょっと",
    "少し",
    "すこし",
    "今は",
    "いまは",
    "しばらく",
    "please",
    "hey",
    "now",
];
/// Taken off its end.
const AFTER: &[&str] = &[
    "ください",
    "下さい",
    "くれますか",
    "くれる",
    "もらえますか",
    "ほしいな",
    "ほしい",
    "お願いします",
    "おねがい",
    "ね",
    "よ",
    "please",
    "for now",
    "now",
    "a bit",
    "for a while",
];
/// What people put behind a name.
const HONORIFICS: &[&str] = &["さん", "ちゃん", "くん", "様"];

/// Whether somebody takes their leave, gives thanks, or closes the matter.
pub(super) fn is_ending(text: &str) -> bool {
    ENDINGS.are_in(text)
}

/// Whether it is serious or private.
pub(super) fn is_private(text: &str) -> bool {
    PRIVATE.are_in(text)
}

/// Whether the whole message asks for quiet. 「静かにしてと言われた」 tells of something else.
pub(super) fn is_hush(text: &str, names: &[String]) -> bool {
    let mut rest = bare(&normal(text)).to_owned();
    // Each round takes one thing off; no message holds more of them.
    for _ in 0..6 {
        if HUSHES.contains(&rest.as_str()) {
            return true;
        }
        let Some(shorter) = shorten(&rest, names) else {
            return false;
        };
        rest = shorter;
    }
    false
}

/// Whether somebody calls us by name: at the beginning or the end, or in a question.
pub(super) fn is_call(text: &str, names: &[String]) -> bool {
    let text = normal(text);
    let asks = text.contains('?');
    names.iter().any(|name| {
        if asks && contains(&text, name) {
            return true;
        }
        let whole = bare(&text);
        let is_end = |rest: &str| rest.is_empty() || rest.starts_with(is_mark);
        let begins = whole
            .strip_prefix(name.as_str())
            .is_some_and(|rest| is_end(without_honorific(rest)));
        let ends = HONORIFICS.iter().copied().chain([""]).any(|honorific| {
            whole
                .strip_suffix(honorific)
                .and_then(|rest| rest.strip_suffix(name.as_str()))
                .is_some_and(|rest| rest.is_empty() || rest.ends_with(is_mark))
        });
        begins || ends
    })
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || c.is_ascii_punctuation() || "、。…・「」『』〜ー♪".contains(c)
}

fn bare(text: &str) -> &str {
    text.trim_matches(is_mark)
}

fn without_honorific(rest: &str) -> &str {
    HONORIFICS
        .iter()
        .find_map(|honorific| rest.strip_prefix(honorific))
        .unwrap_or(rest)
}

fn shorten(text: &str, names: &[String]) -> Option<String> {
    let without_name = names.iter().find_map(|name| {
        text.strip_prefix(name.as_str())
            .map(without_honorific)
            .or_else(|| text.strip_suffix(name.as_str()))
    });
    let rest = without_name
        .or_else(|| BEFORE.iter().find_map(|word| text.strip_prefix(word)))
        .or_else(|| AFTER.iter().find_map(|word| text.strip_suffix(word)))?;
    Some(bare(rest).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["ことのは".to_owned(), "kotonoha".to_owned()]
    }

    #[test]
    fn the_lists_are_written_as_they_are_looked_for() {
        for word in HUSHES {
            assert_eq!(normal(word), *word);
            assert!(is_hush(&format!("「{word}」"), &names()), "{word}");
        }
        for word in ENDING_WORDS {
            assert!(is_ending(&format!("「{word}」")), "{word}");
        }
        for word in PRIVATE_WORDS {
            assert!(is_private(&format!("「{word}」")), "{word}");
        }
    }

    #[test]
    fn endings_are_seen_in_both_languages_and_everyday_words_are_not() {
        for text in [
            "じゃあ、またね〜",
            "おやすみなさい",
            "教えてくれてありがとう！",
            "OK, good  night",
            "Thanks a lot",
        ] {
            assert!(is_ending(text), "{text}");
        }
        for text in ["また雨だ", "休みの日は何してる？", "byte order", "a typo"] {
            assert!(!is_ending(text), "{text}");
        }
        assert!(is_private("ここだけの話だけど"));
        assert!(!is_private("今日の天気"));
    }

    #[test]
    fn quiet_is_asked_for_by_a_whole_message_and_not_by_a_story() {
        for text in [
            "静かにして",
            "静かにしてください。",
            "ことのはさん、ちょっと静かにしてね",
            "しずかに！",
            "Be quiet, please.",
            "kotonoha please be quiet for now",
            "静かにして、ことのは",
        ] {
            assert!(is_hush(text, &names()), "{text}");
        }
        for text in [
            "先生に静かにしてと言われた",
            "静かにしてと言われるのが苦手",
            "静かな場所が好き",
            "she told me to be quiet",
            "a quiet evening",
            "",
        ] {
            assert!(!is_hush(text, &names()), "{text}");
        }
    }

    #[test]
    fn a_name_is_a_call_only_where_people_call() {
        for text in [
            "ことのは",
            "ことのは、聞いてる",
            "ことのはさんはどう思う？",
            "これ知ってる、ことのはさん！",
            "Kotonoha, what do you think",
        ] {
            assert!(is_call(text, &names()), "{text}");
        }
        for text in ["ことのはって便利だね", "kotonohas", "言葉の話"] {
            assert!(!is_call(text, &names()), "{text}");
        }
    }
}
