//! One interaction: acknowledged at once, worked on, answered to the asker alone.

use std::sync::Arc;
use std::time::Duration;

use daemon_kit::text::Language;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::request::{Button, MANAGE_CHANNELS, Request, may};
use super::{again, channel, chat, definitions, mydata, overhear, people, speak, usage};
use crate::discord::Interaction;
use crate::discord::interaction::quiet_delay;
use crate::discord::rest::{self, File};
use crate::notes::Note;
use crate::reply;
use crate::store::{self, OpenTurn, Scope};
use crate::turn::{Again, Rooms};

/// Discord lets us answer for fifteen minutes.
const LONGEST_WORK: Duration = Duration::from_mins(10);
/// Commands for which a model is asked at once; the rest have been acknowledged and wait.
static AT_ONCE: Semaphore = Semaphore::const_new(64);
/// An answer in more messages than this is a file, and belongs to `bot export`.
pub(super) const MOST_PAGES: usize = 8;

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) text: String,
    /// Buttons and what is written on them.
    pub(super) buttons: Vec<(Button, &'static str)>,
    /// Files, each in a message of its own: the first with the words, the others after them.
    pub(super) files: Vec<File>,
}

impl Reply {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    pub(super) fn button(mut self, button: Button, label: &'static str) -> Self {
        self.buttons.push((button, label));
        self
    }

    fn components(&self) -> Value {
        row(&self.buttons)
    }
}

/// What buttons stand under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// An answer that is being written.
    Growing,
    /// A whole answer.
    Answer {
        /// Whether there is more than is shown.
        has_more: bool,
    },
    /// A kind note that stands for an answer.
    Note,
}

/// The buttons under what everybody sees: more, for whoever presses alone; stop, again, delete, for the asker alone.
#[must_use]
pub fn buttons(turn: u64, under: Under, language: Language) -> Value {
    let (stop, more, again, delete) = match language {
        Language::Ja => ("止める", "もっと", "もう一度", "消す"),
        Language::En => ("Stop", "More", "Again", "Delete"),
    };
    let more = (Button::More(String::new()), more);
    let again = (Button::Again(turn), again);
    let delete = (Button::Delete(turn), delete);
    row(&match under {
        Under::Growing => vec![(Button::Stop(turn), stop)],
        Under::Answer { has_more: true } => vec![more, again, delete],
        Under::Answer { has_more: false } => vec![again, delete],
        Under::Note => vec![again],
    })
}

/// What became of the wish to stop an answer, which the intake hears first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// The turn has been told.
    Told,
    /// Somebody else asked that question.
    NotTheirs,
    /// It is not being written now.
    Over,
}

/// What a command needs from the intake, which alone owns the turns on their way.
#[derive(Debug)]
pub struct Desk {
    /// For the button that stops.
    pub stopping: Option<Stopping>,
    /// Takes what is to be answered once more.
    pub again: mpsc::Sender<(Box<OpenTurn>, Again)>,
}

pub(super) fn row(buttons: &[(Button, &'static str)]) -> Value {
    if buttons.is_empty() {
        return json!([]);
    }
    let buttons: Vec<Value> = buttons
        .iter()
        // 2 = grey: nothing here shouts.
        .map(|(button, label)| {
            json!({ "type": 2, "style": 2, "label": label, "custom_id": button.id() })
        })
        .collect();
    json!([{ "type": 1, "components": buttons }])
}

/// Why a command has no answer of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The database.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// Discord.
    #[error("{0}")]
    Discord(#[from] rest::Error),
}

/// Makes Discord offer our commands: at every start, exactly these.
pub async fn register(rooms: Arc<Rooms>, application: u64) {
    let commands = definitions(rooms.manner.language);
    // Asked first: what stands already is not written again, whoever wrote it.
    match rooms.rest.commands(application).await {
        Ok(told) if definitions::are_the_same(&told, &commands) => {
            tracing::info!(
                event = "commands.known",
                "Discord offers our commands already"
            );
            return;
        }
        Ok(_) => {}
        Err(error) => {
            tracing::info!(event = "commands.unread", error = %error, "Discord's list of commands could not be read; it is written");
        }
    }
    match rooms.rest.register_commands(application, &commands).await {
        Ok(()) => tracing::info!(
            event = "commands.registered",
            "the commands are registered with Discord"
        ),
        Err(error) => {
            tracing::warn!(event = "commands.not_registered", error = %error, "the commands could not be registered; the next start tries again");
        }
    }
}

/// Answers an interaction, whatever happens.
pub async fn serve(rooms: Arc<Rooms>, interaction: Interaction, desk: Desk) {
    let request = Request::of(&interaction);
    match rooms.rest.answer(&interaction, &quiet_delay()).await {
        // It may have been taken all the same: then the answer below still arrives.
        Ok(()) | Err(rest::Error::Unreadable | rest::Error::TimedOut) => {}
        Err(error) => {
            tracing::info!(event = "command.too_late", error = %error, "a command could not be acknowledged");
            return;
        }
    }
    let language = rooms.manner.language;
    let _permit = if request.asks_a_model() {
        AT_ONCE.acquire().await.ok()
    } else {
        None
    };
    let reply = match timeout(LONGEST_WORK, work(&rooms, &interaction, request, desk)).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(trouble)) => {
            tracing::warn!(event = "command.failed", error = %trouble, "a command could not be carried out");
            Reply::new(Note::Failed.text(language))
        }
        Err(_) => Reply::new(Note::Failed.text(language)),
    };
    if reply == Reply::default() {
        // A turn answers in our place.
        return;
    }
    if let Err(error) = say(&rooms, &interaction, &reply).await {
        tracing::info!(event = "command.unanswered", error = %error, "a command's answer could not be delivered");
    }
}

async fn work(
    rooms: &Rooms,
    interaction: &Interaction,
    request: Request,
    desk: Desk,
) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    match request {
        Request::Ask(text) => speak::ask(rooms, interaction, &text).await,
        Request::Explain(text) => speak::explain(rooms, interaction, &text).await,
        Request::Draft(text) => speak::draft(rooms, interaction, &text).await,
        Request::Press(Button::More(text)) => speak::more(rooms, interaction, &text).await,
        Request::ChatStart => chat::start(rooms, interaction).await,
        Request::ChatReset => chat::reset(rooms, interaction).await,
        Request::ChatStatus => chat::status(rooms, interaction).await,
        Request::Press(Button::Undo) => chat::undo(rooms, interaction).await,
        Request::Forget(everywhere) => Ok(people::forget_question(everywhere, language)),
        Request::Press(Button::Forget(everywhere)) => {
            people::forget(rooms, interaction, everywhere).await
        }
        Request::MyData => mydata::mydata(rooms, interaction).await,
        Request::Settings(asked) => Ok(settings(rooms, interaction, &asked).await?),
        Request::Usage => usage::usage(rooms, interaction).await,
        Request::Why | Request::Press(Button::Why) => {
            Ok(Reply::new(overhear::why(rooms, interaction)))
        }
        Request::Press(Button::Hear(yes)) => overhear::consent(rooms, interaction, yes).await,
        Request::Press(Button::Hush) => overhear::hush(rooms, interaction).await,
        Request::Help => Ok(Reply::new(format!(
            "{}\n\n{}",
            people::help(rooms),
            overhear::help(language)
        ))),
        Request::Press(Button::Delete(turn)) => people::delete(rooms, interaction, turn).await,
        Request::Press(Button::Stop(_)) => Ok(again::stop(desk.stopping, language)),
        Request::Press(Button::Again(turn)) => again::again(rooms, interaction, turn, &desk).await,
        Request::Press(Button::Thanks) => Ok(Reply::new(match language {
            Language::Ja => "こちらこそ、ありがとうございます。またいつでも。",
            Language::En => "Thank you, too. Whenever you like.",
        })),
        Request::Press(Button::Keep) => Ok(Reply::new(match language {
            Language::Ja => "そのままにしておきました。",
            Language::En => "Everything stays as it is.",
        })),
        Request::Unknown => Ok(Reply::new(match language {
            Language::Ja => "このボタンやコマンドは、いまは使えません。/help を見てみてください。",
            Language::En => "This button or command is not in use any more. Please see /help.",
        })),
    }
}

/// `/settings`: what holds here, or a change of it by someone who may.
async fn settings(
    rooms: &Rooms,
    interaction: &Interaction,
    asked: &[(String, String)],
) -> Result<Reply, store::Error> {
    let language = rooms.manner.language;
    // Discord hides the command from others; we do not rely on it.
    if !may(interaction, MANAGE_CHANNELS) || interaction.guild_id.is_none() {
        return Ok(Reply::new(match language {
            Language::Ja => {
                "この設定を見たり変えたりできるのは、「チャンネルの管理」の権限がある人です。"
            }
            Language::En => {
                "Only those with the Manage Channels permission can see or change this."
            }
        }));
    }
    let place = home(interaction);
    let personas: Vec<String> = rooms
        .settings
        .borrow()
        .persona_names()
        .map(str::to_owned)
        .collect();
    let changed = match channel::apply(rooms.channels.changed(place), asked, &personas) {
        Ok(changed) => changed,
        Err(name) => {
            return Ok(Reply::new(chat::unknown_setting(
                &name, &personas, language,
            )));
        }
    };
    if !asked.is_empty() {
        rooms.channels.change(place, changed).await?;
        tracing::info!(
            event = "settings.changed",
            channel = place,
            "a channel's settings were changed by command"
        );
    }
    Ok(Reply::new(chat::describe(
        &rooms.channels.of(place),
        &rooms.manner,
        language,
    )))
}

/// The channel whose settings hold: of a thread, the one it hangs on.
pub(super) fn home(interaction: &Interaction) -> u64 {
    let parent = interaction
        .channel
        .as_ref()
        .filter(|channel| (10..=12).contains(&channel.kind));
    parent
        .and_then(|thread| thread.parent_id)
        .map_or_else(|| interaction.place(), |id| id.0)
}

/// Whose memory is meant where a command is used.
pub(super) fn scope(interaction: &Interaction) -> Scope {
    let place = interaction.place();
    if interaction.guild_id.is_none() {
        return Scope::Direct(place);
    }
    match interaction.channel.as_ref().map(|channel| channel.kind) {
        Some(10..=12) => Scope::Thread(place),
        _ => Scope::Pair {
            channel: place,
            user: interaction.user(),
        },
    }
}

async fn say(rooms: &Rooms, interaction: &Interaction, reply: &Reply) -> Result<(), rest::Error> {
    let mut pages = reply::pages(&reply::ping_proof(&reply.text));
    pages.truncate(MOST_PAGES);
    let last = pages.len().saturating_sub(1);
    let components = reply.components();
    let (first, others) = reply.files.split_first().unzip();
    for (at, page) in pages.iter().enumerate() {
        let below = (at == last).then_some(&components);
        if at == 0 {
            let rest = &rooms.rest;
            rest.answer_with(interaction, page, (below, first)).await?;
        } else {
            let rest = &rooms.rest;
            rest.follow_up(interaction, page, (below, None)).await?;
        }
    }
    for file in others.into_iter().flatten() {
        let rest = &rooms.rest;
        rest.follow_up(interaction, &file.name, (None, Some(file)))
            .await?;
    }
    Ok(())
}
