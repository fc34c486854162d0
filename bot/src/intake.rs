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
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};

use crate::catch_up;
use crate::commands::{self, Desk};
use crate::conversation::{Conversations, Ended};
use crate::discord::wire::{Channel, Guild, Message};
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
    /// A channel that was not known, the message that was said in it, and whether that was live.
    Learned(Box<Channel>, Box<Message>, bool),
    /// One look back is over: what is left to look at.
    Looked(Look),
}

/// Which channels to look back into.
#[derive(Debug)]
pub(crate) struct Look {
    /// Their server, which messages that are asked for do not name; none for direct messages.
    guild: Option<u64>,
    /// Each channel, and after which message.
    channels: Vec<(u64, u64)>,
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
    /// By Discord's clock, which is known when the first session begins: what was said before may have been answered
    /// in another life.
    started_at: Option<Timestamp>,
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
            started_at: None,
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
        let is_caught_up = self.is_caught_up();
        drop(self.caught.1);
        drop(self.again.1);
        let left = self.conversations.drain(grace).await;
        // Else the next life looks at it: what was not looked at must stay behind the cursor.
        if is_caught_up && self.unstored.load(Ordering::Relaxed) == 0 {
            self.cursor.save(&self.rooms.store).await;
        }
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
            Event::Guild(guild) => self.meet(&guild),
            Event::GuildGone(guild) => {
                self.places.forget_guild(guild);
                self.cursor.forget(guild);
            }
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
        // Only an answer of Discord's says what its clock shows, and the NAS's own may be wrong. This life began a little
        // before it.
        let alive = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        let began_at = self.rooms.rest.now() - alive;
        self.started_at = self.started_at.or(Some(began_at));
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
        let oldest = self.oldest();
        self.cursor.wait_for(guilds, oldest, Instant::now());
        let since = self.cursor.since(oldest);
        match self.rooms.store.direct_channels().await {
            Ok(channels) => self.look(Look {
                guild: None,
                channels: channels.into_iter().map(|id| (id, since)).collect(),
            }),
            Err(error) => {
                tracing::error!(event = "store.unreadable", error = %error, "direct messages are not looked at");
            }
        }
        self.take_up_open().await;
    }

    /// A server shows itself: its places are learned, and those are looked into where somebody has spoken.
    fn meet(&mut self, guild: &Guild) {
        let id = guild.id.0;
        let oldest = self.oldest();
        let since = self.cursor.since_in(id, oldest);
        let mut spoken = Vec::new();
        for channel in guild.channels.iter().chain(&guild.threads) {
            self.learn(channel, Some(id));
            if channel.last_message_id.unwrap_or_default().0 > since {
                spoken.push((channel.id.0, since));
            }
        }
        self.look(Look {
            guild: Some(id),
            channels: spoken,
        });
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
            self.ask_about(raw, is_live);
            return;
        }
        let around = self.around(&inbound, place);
        let is_of_this_life = self.started_at.is_some_and(|at| inbound.said_at >= at);
        let is_old = !is_live || !is_of_this_life;
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

    /// Whatever was said before this is not answered any more.
    fn oldest(&self) -> u64 {
        catch_up::oldest(self.rooms.rest.now(), self.rules.catch_up_minutes)
    }

    /// Whether everything up to the cursor was looked at.
    fn is_caught_up(&self) -> bool {
        self.looking == 0 && self.look_again.is_empty() && !self.cursor.is_held(Instant::now())
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
                self.look(look);
            }
            if self.is_caught_up() && self.unstored.load(Ordering::Relaxed) == 0 {
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
