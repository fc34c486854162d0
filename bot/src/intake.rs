//! Where events become turns: the one owner of places, mailboxes and the cursor.

mod cursor;
mod follow_up;
mod overhear;
mod post;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daemon_kit::text::Text;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};

use crate::catch_up;
use crate::commands::{self, Desk};
use crate::conversation::{Conversations, Ended};
use crate::discord::wire::{Channel, Message};
use crate::discord::{Event, Inbound, Place, PlaceKind, Places};
use crate::router::{Route, Surroundings, route};
use crate::store::OpenTurn;
use crate::turn::{Again, Outcome, Rooms, Wish};
use cursor::Cursor;

/// Messages found by looking back that may wait.
const WAITING_CAUGHT: usize = 256;
/// Turns to be answered once more that may wait.
const WAITING_AGAIN: usize = 64;
/// How often the intake looks after its house.
const TICK: Duration = Duration::from_secs(5);
/// Between two attempts at turns that were left open, and at a look back that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Both ends of a queue.
type Line<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// What the owner set.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether a mention gets a thread.
    pub threads: bool,
    /// What was said longer ago is not answered.
    pub catch_up_minutes: u64,
}

/// What looking back found.
pub(crate) enum Caught {
    /// Something that was said meanwhile.
    Message(Box<Message>),
    /// A channel that was not known, and the message that was said in it.
    Learned(Box<Channel>, Box<Message>),
    /// One look back is over: the cursor at its begin, and whether it saw everything.
    Looked(Look, bool),
}

/// Which channels to look back into, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    channels: Vec<u64>,
    since: u64,
}

/// A turn on its way: who asked, and how it is told what they want of it.
struct Running {
    asker: u64,
    wish: watch::Sender<Wish>,
}

/// The intake.
pub struct Intake {
    rooms: Arc<Rooms>,
    rules: Rules,
    places: Places,
    own_threads: HashSet<u64>,
    conversations: Conversations<Option<Outcome>>,
    /// Turns on their way.
    running: HashMap<u64, Running>,
    /// Turns whose work panicked once in this life.
    panicked: HashSet<u64>,
    /// Turns to be answered once more.
    again: Line<(Box<OpenTurn>, Again)>,
    caught: Line<Caught>,
    cursor: Cursor,
    /// Looks back that are under way, and those to repeat.
    looking: usize,
    look_again: Vec<Look>,
    /// Turns that the store has not taken yet.
    unstored: Arc<AtomicUsize>,
    left: usize,
    tried: Instant,
    /// By Discord's clock: what was said before may have been answered in another life.
    started_at: Timestamp,
    /// When this life began.
    began: Instant,
    pulse: watch::Sender<Instant>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intake")
    }
}

impl Intake {
    /// Reads what it has to know from the store.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open(rooms: Arc<Rooms>, rules: Rules) -> Result<Self, crate::store::Error> {
        let own_threads = rooms.store.own_threads().await?.into_iter().collect();
        let cursor = Cursor::open(&rooms.store).await?;
        let started_at = rooms.rest.now();
        Ok(Self {
            rooms,
            rules,
            places: Places::default(),
            own_threads,
            conversations: Conversations::default(),
            running: HashMap::new(),
            panicked: HashSet::new(),
            again: mpsc::channel(WAITING_AGAIN),
            caught: mpsc::channel(WAITING_CAUGHT),
            cursor,
            looking: 0,
            look_again: Vec::new(),
            unstored: Arc::default(),
            left: 0,
            tried: Instant::now(),
            started_at,
            began: Instant::now(),
            pulse: watch::Sender::new(Instant::now()),
        })
    }

    /// When the intake was last seen alive.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<Instant> {
        self.pulse.subscribe()
    }

    /// Takes events until the gateway ends, then lets running turns end within `grace`.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, grace: Duration) {
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                ended = self.conversations.ended() => self.ended(&ended),
                Some(caught) = self.caught.1.recv() => self.catch(caught),
                Some((open, again)) = self.again.1.recv() => {
                    self.take_up(*open, Instant::now(), Some(again));
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
        let waiting = self.conversations.pending();
        tracing::info!(
            event = "drain.begin",
            turns = waiting,
            "no new questions; letting turns end"
        );
        self.rooms.gate.close();
        self.rooms.ears.fall_silent();
        drop(self.caught.1);
        drop(self.again.1);
        let left = self.conversations.drain(grace).await;
        self.cursor.save(&self.rooms.store).await;
        tracing::info!(
            event = "drain.end",
            left,
            "turns ended; what is left is answered at the next start"
        );
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Ready {
                me,
                application,
                guilds,
            } => self.ready(me, application, &guilds).await,
            Event::Resumed => {
                tracing::info!(
                    event = "gateway.resumed",
                    "the session with Discord goes on"
                );
                self.take_up_left().await;
            }
            Event::Message(message) => self.hear(*message, true),
            Event::Deleted(ids) => {
                for id in ids {
                    self.deleted(id);
                }
            }
            Event::Guild(guild) => {
                let id = guild.id.0;
                let channels = guild.channels.into_iter().chain(guild.threads);
                let known: Vec<Channel> = channels.collect();
                for channel in &known {
                    self.learn(channel, Some(id));
                }
                let newest = known
                    .iter()
                    .map(|channel| (channel.id.0, channel.last_message_id.unwrap_or_default().0));
                let since = self.cursor.since();
                let spoken: Vec<u64> = newest
                    .filter(|(_, newest)| *newest > since)
                    .map(|(id, _)| id)
                    .collect();
                self.look(spoken, since);
            }
            Event::GuildGone(guild) => self.places.forget_guild(guild),
            Event::Channel(channel) => self.learn(&channel, None),
            Event::ChannelGone(channel) => {
                self.places.forget(channel);
                self.own_threads.remove(&channel);
            }
            Event::Interaction(interaction) => {
                let rooms = Arc::clone(&self.rooms);
                let desk = Desk {
                    stopping: self.stop(&interaction),
                    again: self.again.0.clone(),
                };
                self.conversations
                    .aside(commands::serve(rooms, *interaction, desk));
            }
        }
    }

    async fn ready(&mut self, me: u64, application: u64, guilds: &[u64]) {
        self.rooms.me.store(me, Ordering::Relaxed);
        tracing::info!(
            event = "gateway.ready",
            guilds = guilds.len(),
            "connected to Discord"
        );
        let rooms = Arc::clone(&self.rooms);
        self.conversations
            .aside(commands::register(rooms, application));
        self.cursor.begin(&self.rooms).await;
        if guilds.is_empty() {
            self.rooms.owner.tell("no-server", no_server(application));
        }
        let since = self.cursor.since();
        match self.rooms.store.direct_channels().await {
            Ok(channels) => self.look(channels, since),
            Err(error) => {
                tracing::error!(event = "store.unreadable", error = %error, "direct messages are not looked at");
            }
        }
        self.take_up_open().await;
    }

    fn learn(&mut self, channel: &Channel, guild: Option<u64>) {
        self.places.learn(channel, guild);
        let place = self.places.get(channel.id.0);
        if place
            .is_some_and(|place| place.kind == PlaceKind::Thread && place.opener == self.rooms.me())
        {
            self.own_threads.insert(channel.id.0);
        }
    }

    /// A message, live or found by looking back.
    fn hear(&mut self, message: Message, is_live: bool) {
        if is_live {
            self.cursor.saw(message.id.0);
        }
        let raw = message.clone();
        let inbound = message.into_inbound(self.rooms.me());
        let place = self.places.get(inbound.channel);
        if place.is_none() && inbound.guild.is_some() && inbound.mentions_us && !inbound.by_bot {
            self.ask_about(raw);
            return;
        }
        let around = self.around(&inbound, place);
        let is_old = !is_live || inbound.said_at < self.started_at;
        match route(&inbound, &around) {
            Route::Ignore => {}
            Route::Overhear => self.overhear(inbound, is_old),
            Route::Converse { .. } if is_old && self.is_expired(&inbound) => {
                tracing::debug!(turn = inbound.id, "said too long ago to be answered");
            }
            Route::Converse { way, scope, own } => {
                if own {
                    self.own_threads
                        .insert(if way == crate::store::Way::Mention {
                            inbound.id
                        } else {
                            inbound.channel
                        });
                }
                self.accept(inbound, (way, scope, own), is_old);
            }
        }
    }

    fn around(&self, inbound: &Inbound, place: Option<Place>) -> Surroundings {
        let home = self.places.home(inbound.channel);
        let channel = self.rooms.channels.of(home);
        Surroundings {
            me: self.rooms.me(),
            place,
            is_own_thread: self.own_threads.contains(&inbound.channel),
            threads: channel.threads.unwrap_or(self.rules.threads),
            // A thread has an audience of its own, which no notice reaches.
            eavesdrops: channel.eavesdrop == Some(true) && home == inbound.channel,
        }
    }

    fn is_expired(&self, inbound: &Inbound) -> bool {
        catch_up::is_expired(
            inbound.said_at,
            self.rooms.rest.now(),
            self.rules.catch_up_minutes,
        )
    }

    fn ended(&mut self, ended: &Ended<Option<Outcome>>) {
        // A panic may have been chance: such a turn is taken up once more, and then by the next life alone.
        if ended.told.is_err() && !self.panicked.insert(ended.id) {
            return;
        }
        self.running.remove(&ended.id);
        if matches!(ended.told, Ok(Some(Outcome::Left)) | Err(_)) {
            self.left += 1;
        }
    }

    async fn tick(&mut self) {
        self.pulse.send_replace(Instant::now());
        self.look_after_notices();
        if self.tried.elapsed() >= AGAIN_AFTER {
            self.tried = Instant::now();
            self.take_up_left().await;
            for look in std::mem::take(&mut self.look_again) {
                self.look(look.channels, look.since);
            }
            let is_settled = self.looking == 0 && self.unstored.load(Ordering::Relaxed) == 0;
            if is_settled && self.look_again.is_empty() {
                self.cursor.save(&self.rooms.store).await;
            }
        }
    }
}

fn no_server(application: u64) -> Text {
    // View channels, send messages (in threads too), create public threads, read history, attach nothing.
    let permissions: u64 = 1 << 10 | 1 << 11 | 1 << 16 | 1 << 35 | 1 << 38;
    let link = format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands&permissions={permissions}"
    );
    Text::new(
        format!("まだどのサーバーにも招待されていません。このリンクから招待してください: {link}"),
        format!("I am in no server yet. Please invite me with this link: {link}"),
    )
}
