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

    /// Stands under an answer that its asker stopped.
    #[must_use]
    pub fn stopped(language: Language) -> &'static str {
        match language {
            Language::Ja => {
                "-# ここで止めました。続きがほしくなったら、「もう一度」を押してください。"
            }
            Language::En => "-# I stopped here. Press \"Again\" whenever you would like more.",
        }
    }

    /// Stands under the first answer in a thread that we opened.
    #[must_use]
    pub fn new_thread(language: Language) -> &'static str {
        match language {
            Language::Ja => {
                "-# このスレッドの中では、わたしへのメンションはいりません。ここは、このチャンネルを見られる人みんなが読めます。ふたりで話したいときは `/chat start` をどうぞ。"
            }
            Language::En => {
                "-# No mention is needed in this thread. Everyone who can see this channel can read it. `/chat start` opens a place for the two of us."
            }
        }
    }

    /// `text` without the remarks at its end: they are said once, and never remembered.
    #[must_use]
    pub fn without_remarks(text: &str) -> &str {
        let mut kept = text.trim_end();
        while let Some(at) = kept.rfind("-# ") {
            let begins_line = at == 0 || kept[..at].ends_with('\n');
            if !begins_line || kept[at..].contains('\n') {
                break;
            }
            kept = kept[..at].trim_end();
        }
        kept
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_lines_at_the_end_alone() {
        let both = format!(
            "hello\n{}\n{}",
            Note::more(Language::En),
            Note::new_thread(Language::En)
        );
        assert_eq!(Note::without_remarks(&both), "hello");
        assert_eq!(Note::without_remarks(Note::stopped(Language::Ja)), "");
        for kept in ["a -# b", "-# small\nand more", "# title", ""] {
            assert_eq!(Note::without_remarks(kept), kept);
        }
    }
}
