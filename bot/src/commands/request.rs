//! What an interaction asks for. Pure: Discord's shapes on one side, our words on the other.

use serde_json::Value;

use crate::discord::Interaction;

/// Discord's bit for Manage Channels.
pub(super) const MANAGE_CHANNELS: u64 = 1 << 4;
/// Discord's bit for Manage Threads.
pub(super) const MANAGE_THREADS: u64 = 1 << 34;
/// Discord's bit for Administrator, which includes every other.
pub(super) const ADMINISTRATOR: u64 = 1 << 3;

/// The names of the menus in both languages: an owner may change the language while old ones are registered.
pub(super) const EXPLAIN: [&str; 2] = ["やさしく説明", "Explain gently"];
/// The same for the other one.
pub(super) const DRAFT: [&str; 2] = ["返事を一緒に考える", "Draft a reply together"];

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A question whose answer only the asker sees.
    Ask(String),
    /// The words of a message, to be explained gently.
    Explain(String),
    /// The words of a message, to which an answer is to be found together.
    Draft(String),
    /// A place for two.
    ChatStart,
    /// Begin anew here.
    ChatReset,
    /// How things stand here.
    ChatStatus,
    /// Forget the asker's words; true = everywhere.
    Forget(bool),
    /// Show the asker's words.
    MyData,
    /// Show or change how it is in this channel.
    Settings(Vec<(String, String)>),
    /// What was spent.
    Usage,
    /// Why we spoke, or were quiet.
    Why,
    /// What this is.
    Help,
    /// A button.
    Press(Button),
    /// Nothing that we know.
    Unknown,
}

/// A button of ours; its id holds all that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Button {
    /// Yes, forget; true = everywhere.
    Forget(bool),
    /// Take the new beginning back.
    Undo,
    /// More of an answer that only the asker sees; holds what stands there now.
    More(String),
    /// Take an answer away, and forget its question; holds the turn.
    Delete(u64),
    /// No more of an answer that is being written; holds the turn.
    Stop(u64),
    /// Another answer in the place of this one; holds the turn.
    Again(u64),
    /// It was enough, or: thank you.
    Thanks,
    /// Leave everything as it is.
    Keep,
    /// I may be heard unasked in this channel, or not.
    Hear(bool),
    /// Be quiet in this channel for a while.
    Hush,
    /// Why we spoke.
    Why,
}

impl Button {
    /// Its id on Discord.
    #[must_use]
    pub fn id(&self) -> String {
        let id = match self {
            Self::Delete(turn) => return format!("delete:{turn}"),
            Self::Stop(turn) => return format!("stop:{turn}"),
            Self::Again(turn) => return format!("again:{turn}"),
            Self::Forget(false) => "forget:here",
            Self::Forget(true) => "forget:everywhere",
            Self::Undo => "reset:undo",
            Self::More(_) => "more",
            Self::Thanks => "thanks",
            Self::Keep => "keep",
            Self::Hear(true) => "ear:yes",
            Self::Hear(false) => "ear:no",
            Self::Hush => "ear:hush",
            Self::Why => "ear:why",
        };
        id.to_owned()
    }
}

impl Request {
    /// Reads an interaction.
    #[must_use]
    pub fn of(interaction: &Interaction) -> Self {
        match interaction.kind {
            2 => command(&interaction.data),
            3 => Self::press(interaction),
            _ => Self::Unknown,
        }
    }

    /// Whether a model has to be asked before there is an answer: such commands may take long.
    #[must_use]
    pub(super) fn asks_a_model(&self) -> bool {
        matches!(
            self,
            Self::Ask(_) | Self::Explain(_) | Self::Draft(_) | Self::Press(Button::More(_))
        )
    }

    fn press(interaction: &Interaction) -> Self {
        let under = interaction
            .message
            .as_ref()
            .map(|message| message.content.clone())
            .unwrap_or_default();
        Self::Press(
            match interaction.data["custom_id"].as_str().unwrap_or_default() {
                "forget:here" => Button::Forget(false),
                "forget:everywhere" => Button::Forget(true),
                "reset:undo" => Button::Undo,
                "more" => Button::More(under),
                "thanks" => Button::Thanks,
                "keep" => Button::Keep,
                "ear:yes" => Button::Hear(true),
                "ear:no" => Button::Hear(false),
                "ear:hush" => Button::Hush,
                "ear:why" => Button::Why,
                id => match of_turn(id) {
                    Some(button) => button,
                    None => return Self::Unknown,
                },
            },
        )
    }
}

/// A button that belongs to one turn.
fn of_turn(id: &str) -> Option<Button> {
    let (name, turn) = id.split_once(':')?;
    let turn = turn.parse().ok()?;
    match name {
        "delete" => Some(Button::Delete(turn)),
        "stop" => Some(Button::Stop(turn)),
        "again" => Some(Button::Again(turn)),
        _ => None,
    }
}

fn command(data: &Value) -> Request {
    let name = data["name"].as_str().unwrap_or_default();
    if data["type"] == 3 {
        let words = target(data);
        return match name {
            name if EXPLAIN.contains(&name) => Request::Explain(words),
            name if DRAFT.contains(&name) => Request::Draft(words),
            _ => Request::Unknown,
        };
    }
    let first = &data["options"][0];
    match (name, first["name"].as_str().unwrap_or_default()) {
        ("ask", _) => Request::Ask(
            first["value"]
                .as_str()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        ),
        ("chat", "start") => Request::ChatStart,
        ("chat", "reset") => Request::ChatReset,
        ("chat", "status") => Request::ChatStatus,
        ("forget", _) => Request::Forget(first["value"] == "everywhere"),
        ("mydata", _) => Request::MyData,
        ("settings", _) => Request::Settings(options(data)),
        ("usage", _) => Request::Usage,
        ("why", _) => Request::Why,
        ("help", _) => Request::Help,
        _ => Request::Unknown,
    }
}

/// The words of the message that a menu was used on.
fn target(data: &Value) -> String {
    let id = data["target_id"].as_str().unwrap_or_default();
    data["resolved"]["messages"][id]["content"]
        .as_str()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn options(data: &Value) -> Vec<(String, String)> {
    let list = data["options"].as_array().into_iter().flatten();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    list.filter_map(|option| Some((option["name"].as_str()?.to_owned(), text(&option["value"]))))
        .collect()
}

/// Whether the asker has `wanted` there, by Discord's own numbers. In a direct message everybody has everything.
#[must_use]
pub(super) fn may(interaction: &Interaction, wanted: u64) -> bool {
    let has = interaction.permissions();
    interaction.guild_id.is_none() || has & (wanted | ADMINISTRATOR) != 0
}
