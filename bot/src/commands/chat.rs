//! `/chat`: a place for two, a new beginning (which can be taken back), how things stand here.

use daemon_kit::text::Language;
use jiff::{SignedDuration, Timestamp};

use super::answer::{Reply, Trouble, home, scope};
use super::request::{Button, MANAGE_THREADS, may};
use crate::discord::{Interaction, Outbound, nonce, rest};
use crate::settings::Channel;
use crate::store::{Remembered, Scope, Store};
use crate::turn::{Manner, Rooms};

/// A new beginning can be taken back this long.
const UNDO_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// `/chat start`: a private thread, or a direct message where there can be none.
pub(super) async fn start(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let user = interaction.user();
    if interaction.guild_id.is_none() {
        return Ok(Reply::new(match language {
            Language::Ja => "ここはもう、ふたりだけの場所です。そのまま書いてください。",
            Language::En => "We are by ourselves here already. Just write.",
        }));
    }
    let (name, welcome) = match language {
        Language::Ja => (
            "ふたりの場所",
            "ここは、あなたとわたしと、このサーバーの管理者だけが見られる場所です。メンションはいりません。話さなくても大丈夫です。",
        ),
        Language::En => (
            "A place for two",
            "Only you, me and this server's moderators can see this place. No mention is needed. You do not have to say anything.",
        ),
    };
    let opened = rooms
        .rest
        .open_private_thread(home(interaction), user, name, rooms.manner.archive_minutes)
        .await;
    let place = match opened {
        Ok(thread) => thread,
        Err(
            error @ (rest::Error::Forbidden(_)
            | rest::Error::Rejected { .. }
            | rest::Error::NotFound(_)),
        ) => {
            tracing::info!(event = "chat.no_private_thread", why = %error, "opening a direct message instead");
            match rooms.rest.open_direct(user).await {
                Ok(direct) => direct,
                Err(_) => return Ok(Reply::new(nowhere(language))),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let outbound = Outbound {
        text: welcome.to_owned(),
        nonce: nonce(interaction.id.0, 0),
        ..Outbound::default()
    };
    match rooms.rest.send(place, &outbound).await {
        Ok(_) => {}
        Err(rest::Error::Forbidden(_)) => return Ok(Reply::new(nowhere(language))),
        Err(error) => return Err(error.into()),
    }
    Ok(Reply::new(match language {
        Language::Ja => format!("ひらきました: <#{place}>"),
        Language::En => format!("It is open: <#{place}>"),
    }))
}

fn nowhere(language: Language) -> &'static str {
    match language {
        Language::Ja => {
            "ここではふたりだけの場所をひらけませんでした。`/ask` なら、あなただけに見える返事ができます。"
        }
        Language::En => {
            "I could not open a place for two here. `/ask` gives you answers that only you can see."
        }
    }
}

/// `/chat reset`: earlier turns leave the prompt. They stay in `/mydata`.
pub(super) async fn reset(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let scope = scope(interaction);
    if !may_reset(rooms, interaction, scope).await? {
        return Ok(Reply::new(match language {
            Language::Ja => {
                "このスレッドをはじめからにできるのは、はじめた人か、「スレッドの管理」の権限がある人です。"
            }
            Language::En => {
                "Only the one who began this thread, or someone with Manage Threads, can begin it anew."
            }
        }));
    }
    let now = rooms.rest.now();
    let before = rooms.store.setting(name_of(scope)).await?;
    rooms
        .store
        .set_setting(
            format!("undo:{scope}"),
            Some(before.unwrap_or_else(|| "0".to_owned())),
        )
        .await?;
    rooms
        .store
        .set_setting(name_of(scope), Some(now.as_millisecond().to_string()))
        .await?;
    tracing::info!(event = "chat.reset", "a conversation begins anew");
    let (text, undo) = match language {
        Language::Ja => (
            "ここから、はじめからにしました。前の話は返事に使いません (`/mydata` では見られます)。10 分のあいだは元に戻せます。",
            "元に戻す",
        ),
        Language::En => (
            "We begin anew from here. What was said before is not used any more (`/mydata` still shows it). For ten minutes this can be taken back.",
            "Take it back",
        ),
    };
    Ok(Reply::new(text).button(Button::Undo, undo))
}

/// Takes a new beginning back.
pub(super) async fn undo(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let scope = scope(interaction);
    let reset_at = reset_at(&rooms.store, scope).await?;
    let before = rooms.store.setting(format!("undo:{scope}")).await?;
    let is_late = reset_at.is_none_or(|at| rooms.rest.now().duration_since(at) > UNDO_WITHIN);
    let Some(before) = before.filter(|_| !is_late) else {
        return Ok(Reply::new(match language {
            Language::Ja => "元に戻せる時間が過ぎていました。言葉は `/mydata` に残っています。",
            Language::En => "It is too late to take that back. The words are still in `/mydata`.",
        }));
    };
    if !may_reset(rooms, interaction, scope).await? {
        return Ok(Reply::new(match language {
            Language::Ja => "元に戻せるのは、はじめからにできる人だけです。",
            Language::En => "Only those who may begin anew can take it back.",
        }));
    }
    rooms
        .store
        .set_setting(name_of(scope), (before != "0").then_some(before))
        .await?;
    rooms
        .store
        .set_setting(format!("undo:{scope}"), None)
        .await?;
    Ok(Reply::new(match language {
        Language::Ja => "元に戻しました。前の話も覚えています。",
        Language::En => "Taken back. I remember what was said before.",
    }))
}

async fn may_reset(
    rooms: &Rooms,
    interaction: &Interaction,
    scope: Scope,
) -> Result<bool, Trouble> {
    let Scope::Thread(thread) = scope else {
        return Ok(true);
    };
    // A thread on a message has its id, and that message's turn its starter. A thread for two belongs to both.
    let starter = rooms.store.asker(thread).await?;
    Ok(starter.is_none_or(|starter| starter == interaction.user())
        || may(interaction, MANAGE_THREADS))
}

/// `/chat status`
pub(super) async fn status(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let scope = scope(interaction);
    let remembered = rooms
        .store
        .history(
            scope,
            u64::MAX >> 1,
            rooms.manner.context_tokens as usize * 6,
        )
        .await?;
    let remembered = since_reset(&rooms.store, scope, remembered).await?;
    let count = remembered.len();
    let kind = match (scope, language) {
        (Scope::Thread(_), Language::Ja) => "スレッド",
        (Scope::Thread(_), Language::En) => "a thread",
        (Scope::Direct(_), Language::Ja) => "ダイレクトメッセージ",
        (Scope::Direct(_), Language::En) => "a direct message",
        (_, Language::Ja) => "チャンネル (あなたとの会話)",
        (_, Language::En) => "a channel (our conversation)",
    };
    let rules = describe(
        &rooms.channels.of(home(interaction)),
        &rooms.manner,
        language,
    );
    let rules = format!("{rules}\n{}", super::overhear::status(rooms, interaction));
    Ok(Reply::new(match language {
        Language::Ja => {
            format!("ここは{kind}です。返事に使えるメッセージは {count} 件です。\n{rules}")
        }
        Language::En => {
            format!("This is {kind}. {count} messages can be used for an answer.\n{rules}")
        }
    }))
}

/// What holds in a channel, in words.
pub(super) fn describe(rules: &Channel, manner: &Manner, language: Language) -> String {
    let switch = |on: bool| match (on, language) {
        (true, Language::Ja) => "する",
        (true, Language::En) => "on",
        (false, Language::Ja) => "しない",
        (false, Language::En) => "off",
    };
    let threads = switch(rules.threads.unwrap_or(manner.threads));
    let streaming = switch(rules.streaming.unwrap_or(manner.streaming));
    let usual = match language {
        Language::Ja => "いつもの",
        Language::En => "the usual",
    };
    let persona = rules.persona.as_deref().unwrap_or(usual);
    let model = rules
        .model
        .as_ref()
        .map_or_else(|| usual.to_owned(), ToString::to_string);
    match language {
        Language::Ja => format!(
            "スレッドをひらく: {threads}\n書きながら見せる: {streaming}\n話し方: {persona}\nモデル: {model}"
        ),
        Language::En => format!(
            "Threads: {threads}\nStreaming: {streaming}\nPersona: {persona}\nModel: {model}"
        ),
    }
}

pub(super) fn unknown_setting(name: &str, personas: &[String], language: Language) -> String {
    let names = personas.join(", ");
    match (name, language) {
        ("persona", Language::Ja) => format!("その話し方はありません。使えるのは: {names}"),
        ("persona", Language::En) => format!("There is no such persona. There are: {names}"),
        (_, Language::Ja) => {
            "「提供元/モデル名」の形で書いてください。たとえば anthropic/claude-haiku-4-5"
                .to_owned()
        }
        (_, Language::En) => {
            "Please write provider/model, such as anthropic/claude-haiku-4-5".to_owned()
        }
    }
}

/// When we speak at all.
pub(super) fn why(language: Language) -> &'static str {
    match language {
        Language::Ja => {
            "わたしが話すのは、メンションされたとき、わたしのひらいたスレッドの中、ダイレクトメッセージ、コマンドやボタンを使ったときです。"
        }
        Language::En => {
            "I speak only when I am mentioned, in threads that I opened, in direct messages, and when a command or button is used."
        }
    }
}

/// What stands between two sentences.
pub(super) fn space(language: Language) -> &'static str {
    match language {
        Language::Ja => "",
        Language::En => " ",
    }
}

fn name_of(scope: Scope) -> String {
    format!("reset:{scope}")
}

async fn reset_at(store: &Store, scope: Scope) -> Result<Option<Timestamp>, crate::store::Error> {
    let stored = store.setting(name_of(scope)).await?;
    Ok(stored.and_then(|ms| Timestamp::from_millisecond(ms.parse().ok()?).ok()))
}

/// What of `remembered` was said since the last new beginning.
///
/// # Errors
/// The database cannot be read.
pub async fn since_reset(
    store: &Store,
    scope: Scope,
    remembered: Vec<Remembered>,
) -> Result<Vec<Remembered>, crate::store::Error> {
    Ok(match reset_at(store, scope).await? {
        Some(at) => remembered.into_iter().filter(|said| said.at > at).collect(),
        None => remembered,
    })
}
