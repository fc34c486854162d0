//! The world as a test sees it: say something, wait for what comes, and in the end nothing may be left over.

pub mod discord;
pub mod files;
pub mod gateway;
pub mod model;
pub mod rest;
pub mod sink;
pub mod state;
mod verbs;

use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;

pub use discord::{Answer, Channel, Id, Interaction, Kind, Member, Message, permission};
pub use files::FileAct;
pub use model::{Act, Asked};
pub use rest::RestAct;
pub use state::{BOT, GUILD, OWNER, Shared, State};

/// The token that the world accepts; it has a token's form and opens nothing.
pub const TOKEN: &str = "MTAwMDAwMDAwMDAwMDAwMDAwMg.GfakeX.canary-token-0123456789abcdefghijklmnop";

/// A stand-in Discord with models and listeners, on one port of this machine.
pub struct World {
    shared: Arc<Shared>,
    url: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    general: Id,
    forum: Id,
    finished: bool,
}

impl World {
    /// A world with a guild: a text channel, a forum, the owner and the bot.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    /// The same, on a given address.
    pub fn start_on(address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket that does not block");
        let url = format!("http://{}", listener.local_addr().expect("the port"));
        let mut state = State::new(url.clone(), TOKEN.to_owned());
        let mut open = |name: &str, kind| {
            let id = state.id_at(std::time::Duration::from_hours(24 * 30));
            let place = state.place(id, kind, name, None);
            state.channels.insert(id, place);
            id
        };
        let general = open("雑談", Kind::Text);
        let forum = open("相談", Kind::Forum);
        let shared = Arc::new(Shared::new(state));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("world".to_owned())
            .spawn(move || run(listener, served, stopped))
            .expect("a thread");
        Self {
            shared,
            url,
            stop: Some(stop),
            thread: Some(thread),
            general,
            forum,
            finished: false,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The text channel.
    pub fn general(&self) -> Id {
        self.general
    }

    /// The forum.
    pub fn forum(&self) -> Id {
        self.forum
    }

    /// Looks at or changes anything.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        self.shared.with(look)
    }

    /// Waits until `look` finds something; fails after the bound.
    pub fn wait<R>(&self, what: &str, look: impl FnMut(&mut State) -> Option<R>) -> R {
        self.shared.wait(what, look)
    }

    /// Opens the gate that `Act::Hold` waits at.
    pub fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Closes the gate again.
    pub fn close_gate(&self) {
        self.shared.gate.send_replace(false);
    }

    /// Starts a syslog listener over UDP and gives its address.
    pub fn syslog_udp(&self) -> std::net::SocketAddr {
        sink::listen_udp(&self.shared).expect("a free port")
    }

    /// Starts a syslog listener over TCP and gives its address.
    pub fn syslog_tcp(&self) -> std::net::SocketAddr {
        sink::listen_tcp(&self.shared).expect("a free port")
    }

    /// The end of a story: nothing may have happened that it did not expect. Call it when the bot has ended.
    pub fn finish(mut self) {
        self.finished = true;
        let (left, violations, story) = self.with(|state| {
            let left: Vec<String> = state
                .messages
                .values()
                .filter(|message| message.author == BOT && !message.expected && !message.deleted)
                .map(|message| {
                    format!("{} in {}: {}", message.id, message.channel, message.content)
                })
                .collect();
            (left, state.violations.clone(), state.story.join("\n"))
        });
        assert!(
            left.is_empty() && violations.is_empty(),
            "nobody expected {left:#?}\nviolations {violations:#?}\n--- the story ---\n{story}"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        assert!(
            self.finished || std::thread::panicking(),
            "a story must end with world.finish()"
        );
    }
}

fn run(
    listener: std::net::TcpListener,
    world: Arc<Shared>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the listener");
        // As Discord's servers do: a second small write must not wait until the first one is acknowledged.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a live socket"));
        let router = Router::new()
            .fallback(move |request: Request| answer(world.clone(), request))
            .layer(DefaultBodyLimit::disable());
        tokio::select! {
            _ = axum::serve(listener, router) => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}

async fn answer(world: Arc<Shared>, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path.starts_with("/gateway") {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade
                .max_message_size(8 << 20)
                .on_upgrade(move |socket| gateway::serve(socket, world)),
            Err(refusal) => refusal.into_response(),
        };
    }
    let body = axum::body::to_bytes(body, 64 << 20)
        .await
        .unwrap_or_else(|_| Bytes::new());
    match path.split('/').nth(1) {
        Some("attachments") => files::serve(&world, &path),
        Some("api") => rest::serve(world, parts.method, parts.uri, parts.headers, body).await,
        Some("sink") => sink::serve(
            &world,
            &parts.method,
            parts
                .uri
                .path_and_query()
                .map_or(&*path, |whole| whole.as_str()),
            &parts.headers,
            &body,
        ),
        Some("anthropic" | "openai" | "gemini" | "ollama") => {
            model::serve(world, path, parts.headers, body).await
        }
        _ => {
            world.with(|state| state.violation(format!("a request to nowhere: {path}")));
            StatusCode::NOT_FOUND.into_response()
        }
    }
}
