//! The kind sentences that stand where an answer cannot: never a code, never a cause that frightens.

use daemon_kit::text::Language;

use crate::llm;

/// Why a member reads a note instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It takes longer; the answer will be written into this message.
    Holding,
    /// It did not work out.
    Failed,
    /// Too many questions at the moment, or too many by this member.
    Busy,
    /// The month's budget is used up.
    Resting,
    /// The model does not want to answer this.
    Declined,
    /// The question is too long for the model.
    TooLong,
}

impl Note {
    /// The sentence.
    #[must_use]
    pub fn text(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Holding, Language::Ja) => {
                "ちゃんと届いています。考えるのに少し時間がかかっています。このまま待っていてくださいね。"
            }
            (Self::Holding, Language::En) => {
                "I have your message. It is taking me a little longer to think; I will answer right here."
            }
            (Self::Failed, Language::Ja) => {
                "すみません。いまは、うまく言葉にできませんでした。少し時間をおいて、もう一度話しかけてもらえるとうれしいです。"
            }
            (Self::Failed, Language::En) => {
                "I am sorry, I could not find the words just now. Please try again in a little while."
            }
            (Self::Busy, Language::Ja) => {
                "届いています。いまは少し混み合っているので、ひと息おいてから、また声をかけてくださいね。"
            }
            (Self::Busy, Language::En) => {
                "I have heard you. It is a little busy right now; please take a breath and call me again."
            }
            (Self::Resting, Language::Ja) => {
                "届いています。いまはお休みの時間をもらっています。しばらくしたら、またお話ししましょう。"
            }
            (Self::Resting, Language::En) => {
                "I have heard you. I am resting for now; let us talk again in a while."
            }
            (Self::Declined, Language::Ja) => {
                "ごめんなさい。このことについては、うまくお答えできません。別のことなら、ぜひ聞かせてください。"
            }
            (Self::Declined, Language::En) => {
                "I am sorry, I cannot answer this well. I would gladly listen to something else."
            }
            (Self::TooLong, Language::Ja) => {
                "たくさん書いてくれて、ありがとうございます。一度に読みきれなかったので、少し短く分けて送ってもらえますか。"
            }
            (Self::TooLong, Language::En) => {
                "Thank you for writing so much. I could not read it all at once; could you send it in smaller pieces?"
            }
        }
    }

    /// Stands under an answer of which there is more.
    #[must_use]
    pub fn more(language: Language) -> &'static str {
        match language {
            Language::Ja => "-# 続きがあります。「もっと」と書いてもらえたら、お話しします。",
            Language::En => "-# There is more. Write \"more\" and I will go on.",
        }
    }

    /// Whether `text` is the holding note, in any language.
    #[must_use]
    pub fn is_holding(text: &str) -> bool {
        [Language::Ja, Language::En]
            .iter()
            .any(|language| text.trim() == Self::Holding.text(*language))
    }
}

impl From<&llm::Error> for Note {
    fn from(error: &llm::Error) -> Self {
        match error {
            llm::Error::Refused => Self::Declined,
            llm::Error::TooLong => Self::TooLong,
            llm::Error::SpendCap => Self::Resting,
            llm::Error::RateLimited { .. } => Self::Busy,
            _ => Self::Failed,
        }
    }
}
