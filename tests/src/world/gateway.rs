//! The gateway skin: sessions, events in order, and every way a gateway can misbehave.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::discord::{self, Message, permission};
use super::state::{BOT, BOT_ROLE, GUILD, OWNER, Shared, State};

const INTENT_MESSAGES: u64 = 1 << 9;
const INTENT_DIRECT: u64 = 1 << 12;
const INTENT_CONTENT: u64 = 1 << 15;
/// Frames that may wait for one connection.
const QUEUE: usize = 65_536;

/// What the gateway remembers and how it is told to behave.
pub struct GatewayState {
    /// IDENTIFYs seen, right or wrong.
    pub identifies: usize,
    /// RESUMEs that were accepted.
    pub resumes: usize,
    /// Connections opened.
    pub connects: usize,
    /// Heartbeats seen.
    pub heartbeats: usize,
    /// The interval told in HELLO.
    pub heartbeat_ms: u64,
    /// `session_start_limit.remaining` of `/gateway/bot`.
    pub remaining: u64,
    /// Close codes for the next IDENTIFYs, in order.
    pub refuse: Vec<u16>,
    /// Close code for every IDENTIFY from now on.
    pub refuse_always: Option<u16>,
    /// Whether the privileged intent for message content is granted.
    pub grant_content: bool,
    /// Connections that get no HELLO.
    pub no_hello: usize,
    /// RESUMEs to answer with INVALID SESSION.
    pub invalid: usize,
    /// Says nothing, hears nothing.
    pub silent: bool,
    /// Share of message events that are sent twice.
    pub replay_share: f64,
    /// Seeded chance for the share above.
    pub chance: fastrand::Rng,
    /// Whether a thread's starter comes as a second whole `MESSAGE_CREATE`.
    pub whole_starter: bool,
    sessions: HashMap<String, Session>,
}

impl Default for GatewayState {
    fn default() -> Self {
        Self {
            identifies: 0,
            resumes: 0,
            connects: 0,
            heartbeats: 0,
            heartbeat_ms: 10_000,
            remaining: 1_000,
            refuse: Vec::new(),
            refuse_always: None,
            grant_content: true,
            no_hello: 0,
            invalid: 0,
            silent: false,
            replay_share: 0.0,
            chance: fastrand::Rng::with_seed(7),
            whole_starter: false,
            sessions: HashMap::new(),
        }
    }
}

struct Session {
    intents: u64,
    log: Vec<Value>,
    line: Option<mpsc::Sender<Out>>,
    alive: bool,
}

enum Out {
    Say(Value),
    Raw(String),
    Close(u16),
}

impl GatewayState {
    /// How many sessions are connected now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.sessions
            .values()
            .filter(|session| session.line.as_ref().is_some_and(|line| !line.is_closed()))
            .count()
    }

    /// Closes every connection with a code; codes that end a session end it.
    pub fn close(&mut self, code: u16) {
        for session in self.sessions.values_mut() {
            if let Some(line) = session.line.take() {
                line.try_send(Out::Close(code)).ok();
            }
            if !matches!(code, 4000..=4003 | 4005..=4008 | 1006 | 1012..=1014) {
                session.alive = false;
            }
        }
    }

    /// Sends a text as it is to every connection: not JSON, enormous, half a frame.
    pub fn send_raw(&mut self, text: &str) {
        for session in self.sessions.values_mut() {
            if let Some(line) = &session.line {
                line.try_send(Out::Raw(text.to_owned())).ok();
            }
        }
    }

    /// Sends a bare opcode to every connection (7 reconnect, 9 invalid session).
    pub fn send_op(&mut self, op: u8, data: &Value) {
        for session in self.sessions.values_mut() {
            if op == 9 && *data == Value::Bool(false) {
                session.alive = false;
            }
            if let Some(line) = &session.line {
                line.try_send(Out::Say(json!({"op": op, "d": data, "s": null, "t": null})))
                    .ok();
            }
        }
    }
}

impl State {
    /// Sends an event to every session.
    pub fn dispatch(&mut self, name: &str, data: &Value) {
        self.dispatch_each(name, |_, _| Some(data.clone()));
    }

    /// Sends a message event, with its words where the session may see them.
    pub fn dispatch_message(&mut self, name: &str, message: &Message, direct: bool) {
        let visible = self
            .channels
            .get(&message.channel)
            .is_none_or(|place| self.allowed(place) & permission::VIEW != 0);
        if !visible {
            return;
        }
        let intent = if direct {
            INTENT_DIRECT
        } else {
            INTENT_MESSAGES
        };
        let grant = self.gateway.grant_content;
        let everybody = self.gateway.sessions.values();
        let blind = everybody
            .into_iter()
            .any(|session| !grant || session.intents & INTENT_CONTENT == 0);
        let with = self.message_json(message, true, true);
        let without = if blind {
            self.message_json(message, true, false)
        } else {
            Value::Null
        };
        self.dispatch_each(name, |session, grant| {
            let sees = grant && session.intents & INTENT_CONTENT != 0;
            let view = if sees { &with } else { &without };
            (session.intents & intent != 0).then(|| view.clone())
        });
    }

    fn dispatch_each(&mut self, name: &str, view: impl Fn(&Session, bool) -> Option<Value>) {
        let gateway = &mut self.gateway;
        for session in gateway
            .sessions
            .values_mut()
            .filter(|session| session.alive)
        {
            let Some(data) = view(session, gateway.grant_content) else {
                continue;
            };
            let frame = json!({"op": 0, "s": session.log.len() + 1, "t": name, "d": data});
            session.log.push(frame.clone());
            let twice =
                name.starts_with("MESSAGE_CREATE") && gateway.chance.f64() < gateway.replay_share;
            if let Some(line) = session.line.as_ref().filter(|_| !gateway.silent) {
                line.try_send(Out::Say(frame.clone())).ok();
                if twice {
                    line.try_send(Out::Say(frame)).ok();
                }
            }
        }
    }

    fn guild_json(&self) -> Value {
        let mine = |kind: bool| -> Vec<Value> {
            self.channels
                .values()
                .filter(|place| {
                    place.guild.is_some()
                        && (place.kind == discord::Kind::Thread) == kind
                        && !place.archived
                })
                .filter(|place| self.allowed(place) & permission::VIEW != 0)
                .map(|place| self.channel_json(place))
                .collect()
        };
        let mut me = discord::member(&self.member(BOT), None);
        me["roles"] = json!([BOT_ROLE.to_string()]);
        let mut guild = guild_summary(self);
        guild["channels"] = json!(mine(false));
        guild["threads"] = json!(mine(true));
        guild["members"] = json!([me, discord::member(&self.member(OWNER), None)]);
        guild
    }

    fn greet(&self, session: &str) -> Value {
        let guilds = if self.in_guild {
            json!([{"id": GUILD.to_string(), "unavailable": true}])
        } else {
            json!([])
        };
        json!({
            "v": 10, "user": discord::user(&self.member(BOT)), "guilds": guilds, "session_id": session,
            "resume_gateway_url": format!("{}://{}/gateway", self.scheme, self.host),
            "application": {"id": BOT.to_string(), "flags": if self.gateway.grant_content { 1 << 19 } else { 0 }},
        })
    }
}

/// A guild object with roles and settings, without its channels and people.
#[must_use]
pub fn guild_summary(state: &State) -> Value {
    let role = |id: u64, name: &str, bits: u64, managed: bool| {
        json!({
            "id": id.to_string(), "name": name, "permissions": bits.to_string(), "color": 0, "hoist": false, "managed": managed,
            "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
            "mentionable": false, "position": 0, "icon": null, "unicode_emoji": null, "flags": 0,
        })
    };
    let everyone = state.permissions & permission::VIEW;
    json!({
        "id": GUILD.to_string(), "name": "庭", "icon": null, "splash": null, "discovery_splash": null, "owner_id": OWNER.to_string(),
        "afk_channel_id": null, "afk_timeout": 300, "verification_level": 0, "default_message_notifications": 0,
        "explicit_content_filter": 0, "roles": [role(GUILD, "@everyone", everyone, false), role(BOT_ROLE, "kotonoha", state.permissions, true)],
        "emojis": [], "features": [], "mfa_level": 0, "application_id": null, "system_channel_id": null, "system_channel_flags": 0,
        "rules_channel_id": null, "vanity_url_code": null, "description": null, "banner": null, "premium_tier": 0,
        "preferred_locale": "ja", "public_updates_channel_id": null, "nsfw_level": 0, "stickers": [], "premium_progress_bar_enabled": false,
        "joined_at": "2024-01-01T00:00:00.000000+00:00", "large": false, "unavailable": false, "member_count": state.members.len(),
        "voice_states": [], "members": [], "channels": [], "threads": [], "presences": [], "stage_instances": [],
        "guild_scheduled_events": [], "safety_alerts_channel_id": null, "soundboard_sounds": [],
    })
}

/// Serves one connection until it ends.
pub(crate) async fn serve(mut socket: WebSocket, world: Arc<Shared>) {
    let (hello, interval) = world.with(|state| {
        state.gateway.connects += 1;
        let gateway = &mut state.gateway;
        let mute = gateway.silent || gateway.no_hello > 0;
        gateway.no_hello = gateway.no_hello.saturating_sub(1);
        (!mute, gateway.heartbeat_ms)
    });
    if hello {
        let greeting =
            json!({"op": 10, "d": {"heartbeat_interval": interval}, "s": null, "t": null});
        if socket
            .send(Frame::Text(greeting.to_string().into()))
            .await
            .is_err()
        {
            return;
        }
    }
    let (line, mut out) = mpsc::channel::<Out>(QUEUE);
    loop {
        tokio::select! {
            frame = socket.recv() => {
                let Some(Ok(frame)) = frame else { break };
                let text = match frame {
                    Frame::Text(text) => text.to_string(),
                    Frame::Close(_) => break,
                    _ => continue,
                };
                world.with(|state| hear(state, &line, &text));
            }
            said = out.recv() => match said {
                Some(Out::Say(value)) => if socket.send(Frame::Text(value.to_string().into())).await.is_err() { break },
                Some(Out::Raw(text)) => if socket.send(Frame::Text(text.into())).await.is_err() { break },
                // Not a code that can be sent: the line just breaks.
                Some(Out::Close(1006)) | None => break,
                Some(Out::Close(code)) => {
                    drop(socket.send(Frame::Close(Some(CloseFrame { code, reason: "scripted".into() }))).await);
                    // The other side closes; a short bound keeps a silent peer from holding the task.
                    drop(tokio::time::timeout(Duration::from_secs(2), socket.recv()).await);
                    break;
                }
            },
        }
    }
    drop(out);
    // Waiters ask how many are connected.
    world.with(|_| ());
}

fn hear(state: &mut State, line: &mpsc::Sender<Out>, text: &str) {
    if state.gateway.silent {
        return;
    }
    let Ok(frame) = serde_json::from_str::<Value>(text) else {
        line.try_send(Out::Close(4002)).ok();
        return;
    };
    match frame["op"].as_u64() {
        Some(1) => {
            state.gateway.heartbeats += 1;
            line.try_send(Out::Say(json!({"op": 11, "d": null, "s": null, "t": null})))
                .ok();
        }
        Some(2) => identify(state, line, &frame["d"]),
        Some(6) => resume(state, line, &frame["d"]),
        Some(3 | 4 | 8) => {}
        _ => {
            line.try_send(Out::Close(4001)).ok();
        }
    }
}

fn identify(state: &mut State, line: &mpsc::Sender<Out>, data: &Value) {
    state.gateway.identifies += 1;
    let number = state.gateway.identifies;
    let intents = data["intents"].as_u64().unwrap_or_default();
    let scripted = if state.gateway.refuse.is_empty() {
        state.gateway.refuse_always
    } else {
        Some(state.gateway.refuse.remove(0))
    };
    let wrong = (data["token"].as_str() != Some(&state.token)).then_some(4004);
    let forbidden = (intents & INTENT_CONTENT != 0 && !state.gateway.grant_content).then_some(4014);
    if let Some(code) = scripted.or(wrong).or(forbidden) {
        state.tell(format!("gateway: IDENTIFY {number} refused with {code}"));
        line.try_send(Out::Close(code)).ok();
        return;
    }
    state.gateway.remaining = state.gateway.remaining.saturating_sub(1);
    // Whoever begins anew does not come back for an earlier session: its events need not be kept.
    let gone = |session: &Session| session.line.as_ref().is_none_or(mpsc::Sender::is_closed);
    state.gateway.sessions.retain(|_, session| !gone(session));
    let name = format!("session-{number}");
    state.tell(format!("gateway: IDENTIFY {number}, intents {intents}"));
    let mut log = vec![json!({"op": 0, "s": 1, "t": "READY", "d": state.greet(&name)})];
    if state.in_guild {
        log.push(json!({"op": 0, "s": 2, "t": "GUILD_CREATE", "d": state.guild_json()}));
    }
    log.extend(replays(state));
    for (at, frame) in log.iter_mut().enumerate() {
        frame["s"] = json!(at + 1);
        line.try_send(Out::Say(frame.clone())).ok();
    }
    state.gateway.sessions.insert(
        name,
        Session {
            intents,
            log,
            line: Some(line.clone()),
            alive: true,
        },
    );
}

/// A share of what was said lately comes again after a fresh start, as it does after a resume.
fn replays(state: &mut State) -> Vec<Value> {
    let share = state.gateway.replay_share;
    if share <= 0.0 {
        return Vec::new();
    }
    let lately: Vec<Message> = state
        .messages
        .values()
        .filter(|message| message.author != BOT && !message.deleted)
        .rev()
        .take(400)
        .cloned()
        .collect();
    let mut again = Vec::new();
    for message in lately.iter().rev() {
        if state.gateway.chance.f64() < share {
            let data = state.message_json(message, true, state.gateway.grant_content);
            again.push(json!({"op": 0, "s": 0, "t": "MESSAGE_CREATE", "d": data}));
        }
    }
    again
}

fn resume(state: &mut State, line: &mpsc::Sender<Out>, data: &Value) {
    let refuse = state.gateway.invalid > 0;
    state.gateway.invalid = state.gateway.invalid.saturating_sub(1);
    let known = data["session_id"].as_str().unwrap_or_default().to_owned();
    let since = data["seq"].as_u64().unwrap_or_default() as usize;
    let right = data["token"].as_str() == Some(&state.token);
    let Some(session) = state
        .gateway
        .sessions
        .get_mut(&known)
        .filter(|session| session.alive && right && !refuse)
    else {
        line.try_send(Out::Say(json!({"op": 9, "d": false, "s": null, "t": null})))
            .ok();
        state.tell(format!("gateway: RESUME of {known} refused"));
        return;
    };
    for frame in session.log.iter().skip(since) {
        line.try_send(Out::Say(frame.clone())).ok();
    }
    let last = json!({"op": 0, "s": session.log.len() + 1, "t": "RESUMED", "d": {}});
    session.log.push(last.clone());
    line.try_send(Out::Say(last)).ok();
    session.line = Some(line.clone());
    state.gateway.resumes += 1;
    state.tell(format!("gateway: RESUME of {known} from {since}"));
}
