//! Obvious words of distress → the owner's card, at once and without a model. Nothing is guessed, nobody is watched.

use daemon_kit::text::Language;

use crate::manners::distress_words;
use crate::phrases::Phrases;

/// What is looked for, and what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distress {
    words: Phrases,
    card: Option<String>,
}

impl Distress {
    /// The built-in words and the owner's; the owner's card, or none.
    #[must_use]
    pub fn new(words: &[String], card: Option<&str>) -> Self {
        let built_in = distress_words().map(str::to_owned);
        let words = built_in.chain(words.iter().cloned()).collect();
        let card = card
            .map(str::trim)
            .filter(|card| !card.is_empty())
            .map(str::to_owned);
        Self { words, card }
    }

    /// Whether `text` says that someone is in distress.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.words.are_in(text)
    }

    /// What is answered then. Without a card of the owner's: no number that might be wrong, only whom one can turn to.
    #[must_use]
    pub fn card(&self, language: Language) -> &str {
        match (&self.card, language) {
            (Some(card), _) => card,
            (None, Language::Ja) => {
                "書いてくれて、ありがとう。とてもつらいのですね。\n\
                 わたしは AI で、こういうときに本当に力になれる相手ではありません。ひとりで抱えずに、家族や友だち、学校や職場の人、\
                 お医者さん、住んでいる地域の相談窓口など、話せそうな人のだれかひとりに伝えてみてもいいかもしれません。\
                 文字だけの相談を受けているところもあります。\n\
                 いますぐ危ないと感じるときは、近くの人か、救急に知らせてください。"
            }
            (None, Language::En) => {
                "Thank you for writing this. It sounds very hard.\n\
                 I am an AI, and not the right help for this. You do not have to carry it alone: family, a friend, someone at \
                 school or work, a doctor, or a local counselling service could hear it from you, and some of them can be \
                 reached by text alone.\n\
                 If you feel in danger right now, please let someone near you or the emergency services know."
            }
        }
    }
}

impl Default for Distress {
    fn default() -> Self {
        Self::new(&[], None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_phrase_is_found_however_it_is_spaced_or_written() {
        let distress = Distress::default();
        for word in distress_words() {
            assert!(distress.is_in(&format!("あの、{word}です")), "{word}");
            assert!(
                distress.is_in(&format!("I {} now", word.to_uppercase())),
                "{word}"
            );
        }
        assert!(distress.is_in("死に\nたい"));
        assert!(distress.is_in("I  want\nto die"));
    }

    #[test]
    fn everyday_words_are_not_distress() {
        let distress = Distress::default();
        for text in [
            "おはよう",
            "消しゴムがほしい",
            "死角になって見えない",
            "a suicided_x variable",
            "I want to diet",
            "バグが消えた",
        ] {
            assert!(!distress.is_in(text), "{text}");
        }
    }

    #[test]
    fn the_owners_words_and_card_count() {
        let distress = Distress::new(&["もうだめ".to_owned()], Some(" この窓口へ "));
        assert!(distress.is_in("もう だめ…"));
        assert_eq!(distress.card(Language::Ja), "この窓口へ");
        assert!(
            !Distress::default()
                .card(Language::Ja)
                .chars()
                .any(|c| c.is_ascii_digit())
        );
    }
}
