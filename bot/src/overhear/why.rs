//! What is said about speaking and being quiet: to whoever asks `/why`, alone, and to the owner. Pure.

use daemon_kit::text::{Language, Text};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::ear::{Call, Quiet};

/// How it stands in one channel, for one person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether we may listen there.
    pub is_on: bool,
    /// Whether whoever asks has opted in.
    pub is_consenting: bool,
    /// How many have opted in.
    pub consents: usize,
    /// Why we were quiet at the last message.
    pub quiet: Option<Quiet>,
    /// When we spoke last.
    pub spoke_at: Option<Timestamp>,
    /// Why, if this life knows.
    pub call: Option<Call>,
    /// Until when quiet was asked for.
    pub hushed_until: Option<Timestamp>,
}

/// Why we are quiet, as a sentence.
#[must_use]
pub fn reason(quiet: Quiet, language: Language) -> &'static str {
    let (ja, en) = match quiet {
        Quiet::NoNotice => (
            "聞き耳のお知らせがまだ出ていない (か、消された) ので、何も聞いていません。",
            "The notice about listening does not stand here (yet), so I hear nothing.",
        ),
        Quiet::NotYours => (
            "最後に書いた人は、聞いていいと言っていません。",
            "The last one who wrote has not allowed me to hear.",
        ),
        Quiet::QuietHours => ("いまは静かな時間です。", "These are quiet hours."),
        Quiet::Hushed => (
            "静かにしてほしいと言われたからです。",
            "I was asked to be quiet.",
        ),
        Quiet::Thinking => ("いま考えているところです。", "I am thinking about it."),
        Quiet::Spoken => (
            "この会話では、もう一度話したからです。",
            "I have spoken in this conversation already.",
        ),
        Quiet::Ending => (
            "会話が終わりかけているようだったからです。",
            "The conversation seemed to be ending.",
        ),
        Quiet::Private => (
            "大事な話や個人的な話のようだったからです。",
            "It seemed to be serious or private.",
        ),
        Quiet::CoolingDown => (
            "少し前に話したばかりだからです。",
            "I spoke only a short while ago.",
        ),
        Quiet::FewWords => (
            "まだ会話が始まったばかりだからです。",
            "The conversation has only just begun.",
        ),
        Quiet::FewPeople => (
            "聞いていいと言った人が少なく、会話の様子が分からないからです。",
            "Too few of those who talk have allowed me to hear, so I cannot follow.",
        ),
        Quiet::Judged => (
            "口をはさむところではないと思ったからです。",
            "I thought that it was not for me to step in.",
        ),
        Quiet::Failed => (
            "うまく言葉にできなかったからです。",
            "I did not find the right words.",
        ),
        Quiet::Budget => (
            "今月の残りを、呼んでくれる人のためにとってあるからです。",
            "What is left of this month's budget is kept for those who call me.",
        ),
        Quiet::Busy => (
            "ほかの人への返事を先にしていたからです。",
            "I was answering others first.",
        ),
        Quiet::Withdrawn => (
            "話そうとしているうちに、会話が先に進んだからです。",
            "The conversation went on before I was ready.",
        ),
    };
    match language {
        Language::Ja => ja,
        Language::En => en,
    }
}

/// `/why` in a channel where we may listen.
#[must_use]
pub fn why(report: &Report, zone: &TimeZone, language: Language) -> String {
    let mut lines = vec![
        match language {
            Language::Ja => {
                "ここでは聞き耳を立てています。呼ばれていなくても、行き違いがありそうなときと、名前を呼ばれたときに、ひとことだけ話すことがあります。"
            }
            Language::En => {
                "I am listening here. Uncalled, I may say one thing when there seems to be a misunderstanding, or when my name is called."
            }
        }
        .to_owned(),
    ];
    if let Some(at) = report.spoke_at {
        let at = clock(at, zone);
        lines.push(match (report.call, language) {
            (Some(Call::Named), Language::Ja) => {
                format!("最後に話したのは {at} で、名前を呼ばれたからです。")
            }
            (Some(Call::Named), Language::En) => {
                format!("I spoke last at {at}, because my name was called.")
            }
            (Some(Call::Judge), Language::Ja) => format!(
                "最後に話したのは {at} で、行き違いか張りつめた様子があると思ったからです。まちがっていたら、ごめんなさい。"
            ),
            (Some(Call::Judge), Language::En) => format!(
                "I spoke last at {at}, because I thought that there was a misunderstanding or tension. If I was wrong, I am sorry."
            ),
            (None, Language::Ja) => format!("最後に話したのは {at} です。"),
            (None, Language::En) => format!("I spoke last at {at}."),
        });
    }
    if let Some(until) = report.hushed_until {
        let until = clock(until, zone);
        lines.push(match language {
            Language::Ja => {
                format!("静かにしてほしいと言われたので、{until} まで静かにしています。")
            }
            Language::En => format!("I was asked to be quiet, and am until {until}."),
        });
    } else if let Some(quiet) = report.quiet {
        let reason = reason(quiet, language);
        lines.push(match language {
            Language::Ja => format!("いま静かなのは: {reason}"),
            Language::En => format!("Why I am quiet now: {reason}"),
        });
    }
    lines.push(match (report.is_consenting, language) {
        (true, Language::Ja) => {
            "あなたの言葉は、聞いていいことになっています。お知らせの「聞かないで」で、いつでもやめられます。".to_owned()
        }
        (true, Language::En) => {
            "You have allowed me to hear your words. \"Do not hear me\" under the notice ends that at any time.".to_owned()
        }
        (false, Language::Ja) => "あなたの言葉は聞いていません。".to_owned(),
        (false, Language::En) => "I do not hear your words.".to_owned(),
    });
    lines.join("\n")
}

/// The line of `/chat status` about listening.
#[must_use]
pub fn describe(report: &Report, zone: &TimeZone, language: Language) -> String {
    let count = report.consents;
    if !report.is_on {
        return match language {
            Language::Ja => "聞き耳: しない",
            Language::En => "Listening unasked: off",
        }
        .to_owned();
    }
    let mut text = match language {
        Language::Ja => format!("聞き耳: する (聞いていいと言った人は {count} 人)"),
        Language::En => format!("Listening unasked: on ({count} have allowed it)"),
    };
    let about = match (report.hushed_until, language) {
        (Some(until), Language::Ja) => Some(format!("{} まで静かにしています", clock(until, zone))),
        (Some(until), Language::En) => Some(format!("quiet until {}", clock(until, zone))),
        (None, Language::Ja) if count < 2 => {
            Some("聞いていいと言った人が二人より少ないので、静かにしています".to_owned())
        }
        (None, Language::En) if count < 2 => {
            Some("quiet, because fewer than two people have allowed me to hear them".to_owned())
        }
        _ => None,
    };
    if let Some(about) = about {
        text = format!("{text}\n{about}");
    }
    text
}

/// What the owner hears once when nobody, or only one, has opted in.
#[must_use]
pub fn few(channel: u64) -> Text {
    Text::new(
        format!(
            "<#{channel}> では聞き耳が有効ですが、聞いていいと言った人が二人より少ないので、静かにしています。お知らせの下の「聞いていいよ」を押した人の言葉だけを聞きます。"
        ),
        format!(
            "Listening unasked is on in <#{channel}>, but fewer than two people have allowed it, so I stay quiet. I hear only those who press \"You may hear me\" under the notice."
        ),
    )
}

/// A time as people there write it.
pub(super) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone())
        .strftime("%m/%d %H:%M")
        .to_string()
}
