//! Unasked speech, for whoever asks or presses, alone: yes and no to being heard, quiet, and why.

use daemon_kit::text::Language;
use serde_json::Value;

use super::answer::{Reply, Trouble, row};
use super::chat;
use super::request::Button;
use crate::discord::Interaction;
use crate::overhear;
use crate::turn::Rooms;

/// The buttons under the notice.
#[must_use]
pub fn consent_buttons(language: Language) -> Value {
    let (yes, no, hush) = match language {
        Language::Ja => ("聞いていいよ", "聞かないで", "静かにして"),
        Language::En => ("You may hear me", "Do not hear me", "Be quiet"),
    };
    row(&[
        (Button::Hear(true), yes),
        (Button::Hear(false), no),
        (Button::Hush, hush),
    ])
}

/// The buttons under what we said unasked.
#[must_use]
pub fn remark_buttons(language: Language) -> Value {
    let (hush, why) = match language {
        Language::Ja => ("静かにして", "どうして？"),
        Language::En => ("Be quiet", "Why?"),
    };
    row(&[(Button::Hush, hush), (Button::Why, why)])
}

/// A yes or no to being heard in this channel.
pub(super) async fn consent(
    rooms: &Rooms,
    interaction: &Interaction,
    yes: bool,
) -> Result<Reply, Trouble> {
    let (language, channel) = (rooms.manner.language, interaction.place());
    if yes && !is_on(rooms, channel) {
        return Ok(Reply::new(match language {
            Language::Ja => "ここでは、いまは聞き耳を立てていません。",
            Language::En => "I am not listening here now.",
        }));
    }
    let who = (channel, interaction.user());
    rooms
        .ears
        .consent(who, yes, daemon_kit::time::now())
        .await?;
    tracing::info!(
        event = "overhear.consent",
        channel,
        yes,
        "somebody chose whether to be heard"
    );
    Ok(Reply::new(match (yes, language) {
        (true, Language::Ja) => {
            "ありがとう。つぎの言葉から、このチャンネルでのあなたの言葉も聞かせてもらいます。「聞かないで」で、いつでもやめられます。"
        }
        (true, Language::En) => {
            "Thank you. From your next words on I hear you in this channel. \"Do not hear me\" ends that at any time."
        }
        (false, Language::Ja) => {
            "わかりました。つぎの言葉から聞きません。聞いていた言葉も手放しました。"
        }
        (false, Language::En) => {
            "All right. From your next words on I do not hear you, and I have let go of what I had heard."
        }
    }))
}

/// 「静かにして」
pub(super) async fn hush(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let channel = interaction.place();
    let until = rooms.ears.hush(channel, rooms.rest.now()).await?;
    tracing::info!(event = "overhear.hushed", channel, "quiet was asked for");
    let until = until.to_zoned_datetime(rooms.manner.zone.clone());
    let until = until.strftime("%m/%d %H:%M");
    Ok(Reply::new(match rooms.manner.language {
        Language::Ja => {
            format!("わかりました。{until} まで、このチャンネルでは、呼ばれないかぎり話しません。")
        }
        Language::En => {
            format!(
                "All right. Until {until} I do not speak in this channel unless I am mentioned."
            )
        }
    }))
}

/// `/why`
pub(super) fn why(rooms: &Rooms, interaction: &Interaction) -> String {
    let (language, channel) = (rooms.manner.language, interaction.place());
    let rule = chat::why(language);
    if is_on(rooms, channel) {
        let report = report(rooms, interaction);
        let text = overhear::why(&report, &rooms.manner.zone, language);
        return format!("{rule}\n\n{text}");
    }
    let uncalled = match language {
        Language::Ja => "ここでは、呼ばれていないときは、聞いてもいません。",
        Language::En => "Uncalled, I do not even listen here.",
    };
    format!("{rule}{}{uncalled}", chat::space(language))
}

/// The line of `/chat status`.
pub(super) fn status(rooms: &Rooms, interaction: &Interaction) -> String {
    let report = report(rooms, interaction);
    overhear::describe(&report, &rooms.manner.zone, rooms.manner.language)
}

/// The part of `/help` about it.
pub(super) fn help(language: Language) -> &'static str {
    match language {
        Language::Ja => {
            "**聞き耳**\n\
             持ち主が選んだチャンネルだけで、お知らせを出してから、呼ばれなくてもひとこと話すことがあります。\
             聞くのは「聞いていいよ」を押した人の言葉だけで、この機械のメモリーにしばらく置くだけです。保存しません (話したわたしの言葉は覚えます)。\
             ほかの人の言葉は、「おやすみ」や「静かにして」のような決まった言葉がないかをこの機械の中で見るだけで、置かず、どこにも送りません。\
             `/why` で、話した理由や静かな理由が分かります。"
        }
        Language::En => {
            "**Listening unasked**\n\
             Only in channels that the owner chose, and only after a notice, I may say one thing uncalled. I hear only those who \
             press \"You may hear me\"; their words stay in this machine's memory for a while and are not stored (what I say \
             is). In the words of everybody else I only look, in this machine, for fixed ones such as \"good night\" or \"be \
             quiet\"; they are not kept and go nowhere. `/why` tells why I spoke or am quiet."
        }
    }
}

fn report(rooms: &Rooms, interaction: &Interaction) -> overhear::Report {
    let channel = interaction.place();
    let who = (channel, interaction.user());
    rooms
        .ears
        .report(who, is_on(rooms, channel), rooms.rest.now())
}

fn is_on(rooms: &Rooms, channel: u64) -> bool {
    rooms.channels.of(channel).eavesdrop == Some(true)
}
