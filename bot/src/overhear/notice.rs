//! The notice in a channel where we listen: posted once, with buttons whose effect only the one who presses sees.

use daemon_kit::text::{Language, Text};
use jiff::SignedDuration;

use super::ears::Noticed;
use crate::commands;
use crate::discord::{Outbound, id_at, nonce, rest};
use crate::turn::Rooms;

/// Looked for this long before the time at which it was to be posted.
const OVERLAP: SignedDuration = SignedDuration::from_mins(1);

/// The notice; `company` is who gets to read the words of those who opt in.
#[must_use]
pub fn notice_text(company: &str, language: Language) -> String {
    match language {
        Language::Ja => format!(
            "**このチャンネルで、聞き耳を立てています。**\n\
             呼ばれていなくても、行き違いがありそうなときや、名前を呼ばれたときに、ひとことだけ話すことがあります。\n\
             聞くのは「聞いていいよ」を押した人の言葉だけです。考えるために、その言葉はモデルの会社 ({company}) に送られます。\
             ほかの人の言葉は「…」としてだけ扱い、どこにも送りません。聞いた言葉は保存せず、しばらくすると消えます。\n\
             押さなくても、途中でやめても、大丈夫です。だれが押したかは、ほかの人には見えません。\n\
             「静かにして」を押すか、そう書くと、24 時間だまっています。"
        ),
        Language::En => format!(
            "**I am listening in this channel.**\n\
             Uncalled, I may say one thing when there seems to be a misunderstanding, or when my name is called.\n\
             I hear only the words of those who press \"You may hear me\". To think about them, they are sent to the company of the \
             model ({company}). Of everybody else I know only that they said something (\"…\"), and send nothing anywhere. \
             What I hear is not stored, and is gone after a while.\n\
             You do not have to press anything, and can stop at any time. Nobody else sees who pressed.\n\
             Press \"Be quiet\", or write it, and I am silent for 24 hours."
        ),
    }
}

/// Posts the notice where it is missing, and takes it back where we do not listen any more.
pub async fn look_after(rooms: &Rooms, channel: u64) {
    let is_on = rooms.channels.of(channel).eavesdrop == Some(true);
    let kept = rooms.ears.kept(channel);
    let outcome = match (is_on, kept.notice) {
        (true, None) => match post(rooms, channel, kept.noticing_ms).await {
            Ok(Some(id)) => Noticed::Stands(id),
            Ok(None) => Noticed::Unknown,
            Err(error) => {
                tracing::warn!(event = "overhear.no_notice", channel, error = %error, "without its notice nothing is heard there; it is tried again");
                if matches!(error, rest::Error::Forbidden(_)) {
                    rooms
                        .owner
                        .tell(format!("permission:notice:{channel}"), not_allowed(channel));
                }
                Noticed::Refused
            }
        },
        // Once in each life: with today's words, since models and companies change; or it may have been deleted.
        (true, Some(id)) => match edit_anew(rooms, channel, id).await {
            Ok(()) => Noticed::Stands(id),
            Err(rest::Error::NotFound(_)) => Noticed::Gone,
            Err(error) => {
                tracing::info!(event = "overhear.not_renewed", channel, error = %error, "the notice about listening could not be brought up to date; it is tried again");
                Noticed::Refused
            }
        },
        (false, Some(id)) => {
            let text = match rooms.manner.language {
                Language::Ja => "聞き耳は、ここではもう立てていません。",
                Language::En => "I am not listening here any more.",
            };
            match rooms
                .rest
                .edit(channel, id, text, Some(&serde_json::json!([])))
                .await
            {
                Err(error) if !error.is_final() && !matches!(error, rest::Error::NotFound(_)) => {
                    Noticed::Refused
                }
                _ => Noticed::Gone,
            }
        }
        (false, None) => Noticed::Unchanged,
    };
    rooms.ears.noticed(channel, outcome).await;
    if matches!(outcome, Noticed::Stands(_)) {
        tracing::info!(
            event = "overhear.noticed",
            channel,
            "the notice about listening stands"
        );
    }
}

async fn edit_anew(rooms: &Rooms, channel: u64, id: u64) -> Result<(), rest::Error> {
    let language = rooms.manner.language;
    let text = notice_text(&commands::company(rooms, Some(channel)), language);
    let buttons = commands::consent_buttons(language);
    rooms.rest.edit(channel, id, &text, Some(&buttons)).await
}

async fn post(
    rooms: &Rooms,
    channel: u64,
    noticing_ms: Option<i64>,
) -> Result<Option<u64>, rest::Error> {
    let language = rooms.manner.language;
    let text = notice_text(&commands::company(rooms, Some(channel)), language);
    // An earlier attempt may have come through without our hearing of it.
    if let Some(since) = noticing_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        let from = since.checked_sub(OVERLAP).unwrap_or(since);
        let messages = rooms.rest.messages_after(channel, id_at(from)).await?;
        let ours = messages
            .iter()
            .find(|message| message.author.id.0 == rooms.me() && message.content == text);
        if let Some(ours) = ours {
            return Ok(Some(ours.id.0));
        }
    }
    let now = rooms.rest.now();
    rooms.ears.noticing(channel, now.as_millisecond()).await;
    let outbound = Outbound {
        text,
        nonce: nonce(channel, now.as_second().rem_euclid(1000) as usize),
        is_silent: true,
        components: Some(commands::consent_buttons(language)),
        ..Outbound::default()
    };
    rooms.rest.send(channel, &outbound).await
}

fn not_allowed(channel: u64) -> Text {
    Text::new(
        format!(
            "<#{channel}> で聞き耳が有効ですが、お知らせを書く権限がないので、何も聞いていません。「メッセージを送信」の権限をください。"
        ),
        format!(
            "Listening unasked is on in <#{channel}>, but I may not post the notice there, so I hear nothing. Please allow me Send Messages."
        ),
    )
}
