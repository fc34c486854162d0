//! Everything the world remembers, behind one lock that wakes whoever waits for a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::discord::{
    self, Channel, DISCORD_EPOCH_MS, Id, Interaction, Kind, Member, Message, permission,
};
use super::files::FileState;
use super::gateway::GatewayState;
use super::model::ModelState;
use super::rest::RestState;
use super::sink::SinkState;
use crate::PATIENCE;

/// The guild's id.
pub const GUILD: Id = 1_000_000_000_000_000_001;
/// The bot's user and application id.
pub const BOT: Id = 1_000_000_000_000_000_002;
/// The person the application belongs to.
pub const OWNER: Id = 1_000_000_000_000_000_003;
/// The role everyone has carries the guild's id.
pub const BOT_ROLE: Id = 1_000_000_000_000_000_004;

/// The whole world.
pub struct State {
    /// The one token that is right.
    pub token: String,
    /// Where this world listens, `http://127.0.0.1:port`.
    pub url: String,
    /// How this world was last called: containers know it by another name.
    pub host: String,
    /// How the gateway is reached there: `ws`, or `wss` behind a front door.
    pub scheme: &'static str,
    /// Everybody.
    pub members: BTreeMap<Id, Member>,
    /// Every channel, thread, forum and direct message.
    pub channels: BTreeMap<Id, Channel>,
    /// Everything said, by id (a thread's starter copy stands in its own list).
    pub messages: BTreeMap<Id, Message>,
    /// Interactions by id.
    pub interactions: BTreeMap<Id, Interaction>,
    /// Application commands as last registered.
    pub commands: Vec<Value>,
    /// Reactions of the bot: message, emoji.
    pub reactions: Vec<(Id, String)>,
    /// What the bot may do in the guild.
    pub permissions: u64,
    /// What members may do there besides the usual, as interactions say it.
    pub powers: BTreeMap<Id, u64>,
    /// Whether the bot is in the guild at all.
    pub in_guild: bool,
    /// How long `enforce_nonce` remembers.
    pub nonce_memory: Duration,
    /// How far the world's clock (snowflakes, timestamps, `Date` headers) is ahead of this machine's: driven time.
    pub ahead: Duration,
    /// Attached files by path, and who asked for them.
    pub files: FileState,
    /// Typing indicators, by channel.
    pub typing: HashMap<Id, usize>,
    /// Things the bot must not do; `finish` fails on any.
    pub violations: Vec<String>,
    /// What happened, for the person who reads a failed test.
    pub story: Vec<String>,
    /// The gateway's part.
    pub gateway: GatewayState,
    /// The REST skin's scripted faults.
    pub rest: RestState,
    /// The models' part.
    pub model: ModelState,
    /// What reached the listeners.
    pub sink: SinkState,
    /// Message ids by channel, in order: conversations are looked up, not searched for.
    order: HashMap<Id, BTreeSet<Id>>,
    /// The bot's messages by channel and nonce.
    nonces: HashMap<(Id, String), Id>,
    counter: u64,
    born: Instant,
}

impl State {
    pub(crate) fn new(url: String, token: String) -> Self {
        let mut state = Self {
            token,
            host: url.trim_start_matches("http://").to_owned(),
            scheme: "ws",
            url,
            members: BTreeMap::new(),
            channels: BTreeMap::new(),
            messages: BTreeMap::new(),
            interactions: BTreeMap::new(),
            commands: Vec::new(),
            reactions: Vec::new(),
            permissions: permission::ALL,
            powers: BTreeMap::new(),
            in_guild: true,
            nonce_memory: Duration::from_mins(5),
            ahead: Duration::ZERO,
            files: FileState::default(),
            typing: HashMap::new(),
            violations: Vec::new(),
            story: Vec::new(),
            gateway: GatewayState::default(),
            rest: RestState::default(),
            model: ModelState::default(),
            sink: SinkState::default(),
            order: HashMap::new(),
            nonces: HashMap::new(),
            counter: 0,
            born: Instant::now(),
        };
        for (id, name, bot) in [(BOT, "kotonoha", true), (OWNER, "owner", false)] {
            state.members.insert(
                id,
                Member {
                    id,
                    name: name.to_owned(),
                    bot,
                },
            );
        }
        state
    }

    /// The world's time.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        now.saturating_add(self.ahead).as_millis() as u64
    }

    /// A fresh snowflake, `ago` in the past.
    pub fn id_at(&mut self, ago: Duration) -> Id {
        self.counter += 1;
        let ms = self
            .now_ms()
            .saturating_sub(ago.as_millis() as u64)
            .saturating_sub(DISCORD_EPOCH_MS);
        (ms << 22) | (self.counter & 0x3F_FFFF)
    }

    /// A fresh snowflake.
    pub fn id(&mut self) -> Id {
        self.id_at(Duration::ZERO)
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: impl AsRef<str>) {
        let at = self.born.elapsed();
        let line: String = line.as_ref().chars().take(400).collect();
        self.story
            .push(format!("{:>8.3}s  {line}", at.as_secs_f64()));
    }

    /// Notes something the bot must not do.
    pub fn violation(&mut self, what: String) {
        self.tell(format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// The name of a person, for stories and objects.
    #[must_use]
    pub fn member(&self, id: Id) -> Member {
        self.members.get(&id).cloned().unwrap_or_else(|| Member {
            id,
            name: format!("user-{id}"),
            bot: false,
        })
    }

    /// What the bot may do in a channel.
    #[must_use]
    pub fn allowed(&self, channel: &Channel) -> u64 {
        if channel.kind == Kind::Direct {
            return permission::ALL;
        }
        let parent = channel
            .parent
            .and_then(|id| self.channels.get(&id))
            .map_or(0, |parent| parent.denied);
        if self.in_guild {
            self.permissions & !channel.denied & !parent
        } else {
            0
        }
    }

    /// The messages of a channel in order, without those taken back.
    pub fn in_channel(&self, channel: Id) -> impl DoubleEndedIterator<Item = &Message> {
        let ids = self.order.get(&channel).into_iter().flatten();
        ids.filter_map(|id| self.messages.get(id))
            .filter(|message| !message.deleted)
    }

    /// The message of the bot in a channel with a nonce, if it still stands.
    pub fn with_nonce(&self, channel: Id, nonce: &str) -> Option<&Message> {
        let id = self.nonces.get(&(channel, nonce.to_owned()))?;
        self.messages.get(id).filter(|message| !message.deleted)
    }

    /// A channel object.
    #[must_use]
    pub fn channel_json(&self, place: &Channel) -> Value {
        let last = self
            .in_channel(place.id)
            .next_back()
            .map(|message| message.id);
        let count = if place.kind == Kind::Thread {
            self.order.get(&place.id).map_or(0, BTreeSet::len)
        } else {
            0
        };
        let recipient = place.recipient.map(|id| self.member(id));
        discord::channel(place, BOT, last, count, recipient.as_ref())
    }

    /// A message object. `gateway` adds what only events carry; words are withheld as Discord does without the intent.
    #[must_use]
    pub fn message_json(&self, message: &Message, gateway: bool, see_words: bool) -> Value {
        let author = self.member(message.author);
        let direct = self
            .channels
            .get(&message.channel)
            .is_some_and(|place| place.kind == Kind::Direct);
        let see = see_words || direct || message.author == BOT || message.mentions.contains(&BOT);
        let mentions: Vec<Value> = message
            .mentions
            .iter()
            .map(|id| discord::user(&self.member(*id)))
            .collect();
        let mut value = json!({
            "id": message.id.to_string(), "channel_id": message.channel.to_string(), "author": discord::user(&author),
            "content": if see { message.content.as_str() } else { "" }, "timestamp": discord::timestamp(message.at_ms),
            "edited_timestamp": if message.former.is_empty() { Value::Null } else { json!(discord::timestamp(message.at_ms)) },
            "tts": false, "mention_everyone": false, "mentions": mentions, "mention_roles": [],
            "attachments": if see { json!(message.attachments) } else { json!([]) }, "embeds": if see { message.embeds.clone() } else { json!([]) },
            "components": message.components, "pinned": false, "type": message.kind, "flags": message.flags,
        });
        if let Some(nonce) = &message.nonce {
            value["nonce"] = json!(nonce);
        }
        if message.author == BOT {
            value["application_id"] = json!(BOT.to_string());
        }
        if let Some(original) = message.reply_to {
            value["message_reference"] = json!({"type": 0, "message_id": original.to_string(), "channel_id": message.channel.to_string(), "guild_id": GUILD.to_string()});
            value["referenced_message"] = self
                .messages
                .get(&original)
                .filter(|found| !found.deleted)
                .map_or(Value::Null, |found| {
                    self.message_json(found, false, see_words)
                });
        }
        if let Some(thread) = self
            .channels
            .get(&message.id)
            .filter(|place| place.parent == Some(message.channel))
        {
            value["thread"] = self.channel_json(thread);
        }
        if gateway && !direct {
            value["guild_id"] = json!(GUILD.to_string());
            value["member"] = discord::partial_member();
        }
        value
    }

    /// Puts a message into a channel and tells everybody who listens.
    pub fn publish(&mut self, message: &Message) -> Id {
        let id = message.id;
        if let Some(place) = self.channels.get_mut(&message.channel) {
            place.archived = false;
        }
        let line = format!(
            "{} said in {}: {}",
            self.member(message.author).name,
            message.channel,
            message.content.replace('\n', "⏎")
        );
        self.tell(line);
        let direct = self
            .channels
            .get(&message.channel)
            .is_some_and(|place| place.kind == Kind::Direct);
        self.order.entry(message.channel).or_default().insert(id);
        if let Some(nonce) = message.nonce.clone().filter(|_| message.author == BOT) {
            self.nonces.insert((message.channel, nonce), id);
        }
        self.messages.insert(id, message.clone());
        self.dispatch_message("MESSAGE_CREATE", message, direct);
        id
    }

    /// A message with nothing but its words.
    #[must_use]
    pub fn blank(&self, id: Id, channel: Id, author: Id, content: &str) -> Message {
        Message {
            id,
            channel,
            author,
            content: content.to_owned(),
            former: Vec::new(),
            nonce: None,
            reply_to: None,
            mentions: discord::mentioned(content),
            attachments: Vec::new(),
            components: json!([]),
            embeds: json!([]),
            flags: 0,
            kind: 0,
            at_ms: id / (1 << 22) + DISCORD_EPOCH_MS,
            pings: 0,
            deleted: false,
            expected: false,
            interaction: None,
        }
    }

    /// The direct message channel with a person, opened when there is none.
    pub fn direct_with(&mut self, person: Id) -> Id {
        if let Some(found) = self
            .channels
            .values()
            .find(|place| place.recipient == Some(person))
        {
            return found.id;
        }
        let id = self.id();
        self.channels
            .insert(id, self.place(id, Kind::Direct, "", None));
        if let Some(place) = self.channels.get_mut(&id) {
            place.recipient = Some(person);
            place.guild = None;
        }
        id
    }

    /// A channel with nothing special.
    #[must_use]
    pub fn place(&self, id: Id, kind: Kind, name: &str, parent: Option<Id>) -> Channel {
        Channel {
            id,
            kind,
            guild: Some(GUILD),
            parent,
            name: name.to_owned(),
            owner: None,
            recipient: None,
            denied: 0,
            archived: false,
            locked: false,
            auto_archive: 1440,
            closed: false,
        }
    }
}

/// The state with its lock.
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Opens the gate that held answers wait at.
    pub(crate) gate: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            gate: tokio::sync::watch::Sender::new(false),
        }
    }

    /// Looks at or changes the state, and wakes those who wait.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = look(&mut state);
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Waits until `look` finds what it looks for; panics after the bound, with the end of the story.
    pub fn wait<R>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<R>) -> R {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&mut state) {
                drop(state);
                self.changed.notify_all();
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let from = state.story.len().saturating_sub(60);
                let story = state.story[from..].join("\n");
                drop(state);
                panic!(
                    "the world waited in vain for: {what}\n--- the end of its story ---\n{story}"
                );
            }
            state = self
                .changed
                // What a test looks at may lie outside the world, where nothing wakes it.
                .wait_timeout(state, left.min(Duration::from_millis(50)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
