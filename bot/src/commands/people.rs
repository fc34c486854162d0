//! A member's own words: forgotten for them, and what is kept said plainly.

use daemon_kit::text::Language;

use super::answer::{Reply, Trouble, scope};
use super::held;
use super::request::Button;
use crate::discord::{Interaction, made_at};
use crate::turn::Rooms;

/// Asks once more before anything is forgotten.
pub(super) fn forget_question(everywhere: bool, language: Language) -> Reply {
    let text = match (language, everywhere) {
        (Language::Ja, false) => {
            "ここでのあなたの言葉と、それへのわたしの返事を忘れます。元には戻せません。"
        }
        (Language::Ja, true) => {
            "すべての場所でのあなたの言葉と、それへのわたしの返事を忘れます。元には戻せません。"
        }
        (Language::En, false) => {
            "I will forget your words here, and my answers to them. This cannot be undone."
        }
        (Language::En, true) => {
            "I will forget your words everywhere, and my answers to them. This cannot be undone."
        }
    };
    let (yes, no) = match language {
        Language::Ja => ("忘れてください", "やめておく"),
        Language::En => ("Please forget", "Leave it"),
    };
    Reply::new(text)
        .button(Button::Forget(everywhere), yes)
        .button(Button::Keep, no)
}

/// Forgets, for good: a restored backup is forgotten again.
pub(super) async fn forget(
    rooms: &Rooms,
    interaction: &Interaction,
    everywhere: bool,
) -> Result<Reply, Trouble> {
    let now = daemon_kit::time::now();
    // Up to this command by any clock: ours may have been wrong when the words came, or may be now.
    let until = now.max(rooms.rest.now()).max(made_at(interaction.id.0));
    let place = (!everywhere).then(|| scope(interaction).to_string());
    let gone = rooms.store.forget(interaction.user(), place, until).await?;
    let channel = (!everywhere).then(|| interaction.place());
    rooms.ears.let_go(interaction.user(), channel);
    tracing::info!(
        event = "forget.done",
        messages = gone.messages,
        turns = gone.turns,
        everywhere,
        "a member's words were forgotten"
    );
    let when = (now, &rooms.manner.zone);
    let held = held::still_held(&rooms.manner.log_dir, when, rooms.manner.language);
    let messages = gone.messages;
    let mut text = match rooms.manner.language {
        Language::Ja => format!(
            "忘れました (メッセージ {messages} 件)。\n\
             {held}\n\
             古いバックアップから戻すことがあっても、わたしはもう一度忘れます。\n\
             Discord に表示されているメッセージそのものは、あなたが消すまで残ります。\n\
             聞き耳に「聞いていいよ」と言っていたことも取り消しました。残るのは、忘れてほしいと言われたという印 (あなたの ID と時刻) だけです。"
        ),
        Language::En => format!(
            "Forgotten ({messages} messages).\n\
             {held}\n\
             If an old backup is ever restored, I forget again.\n\
             The messages that Discord shows stay until you delete them.\n\
             If you had allowed me to hear you unasked, that is taken back too. What stays is a mark that you asked to be \
             forgotten (your id and the time)."
        ),
    };
    if gone.has_nameless {
        text.extend(["\n", held::nameless(rooms.manner.language)]);
    }
    Ok(Reply::new(text))
}

/// Takes one answer away and forgets its question, for the one who asked.
pub(super) async fn delete(
    rooms: &Rooms,
    interaction: &Interaction,
    turn: u64,
) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    if rooms.store.asker(turn).await? != Some(interaction.user()) {
        return Ok(Reply::new(match language {
            Language::Ja => "この返事を消せるのは、聞いた人だけです。",
            Language::En => "Only the one who asked can delete this answer.",
        }));
    }
    if let Some(erased) = rooms.store.erase_turn(turn).await? {
        for reply in erased.replies {
            rooms.rest.delete(erased.reply_channel, reply).await?;
        }
    }
    tracing::info!(
        event = "turn.erased",
        turn,
        "an answer was deleted by its asker"
    );
    Ok(Reply::new(match language {
        Language::Ja => "消しました。この質問と返事は、もう覚えていません。",
        Language::En => "Deleted. I do not remember this question and its answer any more.",
    }))
}

/// What can be done here, what is kept, who can read it, how it is forgotten.
pub(super) fn help(rooms: &Rooms) -> String {
    let listening = rooms.channels.listening();
    let company = company(rooms, listening.into_iter().next());
    match rooms.manner.language {
        Language::Ja => format!(
            "**できること**\n\
             わたしをメンションすると、スレッドで返事をします。そのスレッドの中では、メンションはいりません。ダイレクトメッセージでも話せます。\n\
             `/ask` はあなただけに見える返事です。`/chat start` はふたりだけの場所をひらきます。\
             メッセージを長押し (右クリック) して「アプリ」を選ぶと、「やさしく説明」「返事を一緒に考える」が使えます。\n\n\
             **覚えること**\n\
             わたしとの会話の言葉を、このボットの持ち主の機械の中に覚えます。スレッドの言葉はそのスレッドで、ほかの場所の言葉はその場所でだけ使います。\
             `/ask` とメニューの言葉は覚えません。期限は{}\n\n\
             **読める人**\n\
             その場所にいるメンバー、機械の持ち主、返事を作るモデルの会社 ({company})。記録 (ログ) に言葉は残しません。\n\n\
             **忘れてほしいとき**\n\
             `/forget` で忘れます。`/mydata` で、覚えていることを見られます。`/chat reset` は、ここでの会話をはじめからにします。",
            match rooms.manner.retention_days {
                Some(days) => format!(" {days} 日です。"),
                None => "ありません。".to_owned(),
            }
        ),
        Language::En => format!(
            "**What I can do**\n\
             Mention me and I answer in a thread; in there no mention is needed. Direct messages work too.\n\
             `/ask` answers to you alone. `/chat start` opens a place for the two of us. Press and hold (right-click) a message and \
             choose Apps for \"Explain gently\" and \"Draft a reply together\".\n\n\
             **What I keep**\n\
             The words of our conversations, on the machine of this bot's owner. Words of a thread are used in that thread only, \
             others only where they were said. Words of `/ask` and of the menus are not kept. They are kept {}\n\n\
             **Who can read it**\n\
             Members in that place, the owner of the machine, and the company of the model that answers ({company}). No words are in any log.\n\n\
             **To have it forgotten**\n\
             `/forget` forgets. `/mydata` shows what I remember. `/chat reset` begins anew here.",
            match rooms.manner.retention_days {
                Some(days) => format!("for {days} days."),
                None => "without a limit.".to_owned(),
            }
        ),
    }
}

/// Who gets to read what is sent to the models; with the judge's, where we listen in the channel given.
#[must_use]
pub fn company(rooms: &Rooms, listening: Option<u64>) -> String {
    let config = rooms.models.config();
    let own = listening.and_then(|channel| rooms.channels.of(channel).model);
    let judge = listening.map(|_| rooms.ears.judge());
    let house = match rooms.manner.language {
        Language::Ja => "この機械か家の中",
        Language::En => "this machine or house",
    };
    let mut readers: Vec<String> = Vec::new();
    for model in own.iter().chain(config.chain()).chain(judge) {
        let reader = config.reader(model).unwrap_or_else(|| house.to_owned());
        if !readers.contains(&reader) {
            readers.push(reader);
        }
    }
    readers.join(", ")
}
