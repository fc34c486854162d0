//! The wiring: every room is built, joined and, at the end, drained in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use daemon_kit::boot::{self, Anew, Hold, House, Identity, KitSettings, Resident};
use daemon_kit::doctor::Finding;
use daemon_kit::env::Env;
use daemon_kit::text::Text;
use jiff::SignedDuration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::alerts;
use crate::catch_up::Views;
use crate::commands::Channels;
use crate::config::{Config, SERVICE};
use crate::discord::Rest;
use crate::discord::gateway::{Gateway, Link, Refusal, Trust};
use crate::health::Health;
use crate::intake::{Intake, Rules};
use crate::limits::Limits;
use crate::llm::{self, Models};
use crate::model_watch::ModelWatch;
use crate::overhear::{self, Ears};
use crate::owner::Owner;
use crate::purse::Purse;
use crate::settings;
use crate::settings::{Live, Settings};
use crate::start::{self, Data};
use crate::store::Store;
use crate::tally;
use crate::turn::{Gate, Manner, Rooms, Unsaid};

/// Events between the gateway and the intake. When it is full, the gateway resumes a little later instead.
const WAITING_EVENTS: usize = 4096;
/// One request to Discord or for an attachment, its answer included.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// A ping may be led on a few times on its host.
const MOST_REDIRECTS: usize = 3;
/// Running turns get this long of the thirty seconds that a container has to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How often the YAML is looked at.
const LOOK_AT_SETTINGS: Duration = Duration::from_secs(10);
/// How often old words are let go.
const DAILY: Duration = Duration::from_hours(24);

/// The bot, as the kit knows it.
#[derive(Debug)]
pub struct Bot;

impl Resident for Bot {
    type Config = Config;

    fn identity() -> Identity {
        let more = format!("SQLite {}", Store::sqlite_version());
        Identity {
            service: SERVICE,
            build: boot::build_info(env!("CARGO_PKG_VERSION"), &more),
        }
    }

    fn configure(env: &mut Env) -> Config {
        Config::read(env)
    }

    fn kit(config: &Config) -> KitSettings {
        config.kit()
    }

    fn check(config: &Config) -> Vec<Finding> {
        let problem = Settings::load(&config.config_file, config.language).err();
        problem
            .map(|problem| settings_finding(&problem))
            .into_iter()
            .collect()
    }

    fn run(config: Config, house: House) -> anyhow::Result<()> {
        let data = start::open(&config)?;
        // One thread: every turn waits for others, none computes, and handing work to a second thread costs more
        // than the work.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let Data {
            lock,
            store,
            closing,
            tidings,
        } = data;
        let outcome = runtime.block_on(live(&config, &house, &store, tidings));
        runtime.block_on(store.close());
        runtime.shutdown_timeout(Duration::from_secs(2));
        drop(store);
        closing.wait();
        drop(lock);
        outcome
    }
}

async fn live(
    config: &Config,
    house: &House,
    store: &Store,
    tidings: Vec<(String, Text)>,
) -> anyhow::Result<()> {
    let trust = Trust::new(config.extra_ca.as_deref())?;
    let client = client(config, Some(REQUEST_WITHIN))?;
    let rest = Arc::new(Rest::new(
        client.clone(),
        &config.discord.token,
        &config.discord.api_url,
    ));
    let to_owner = || {
        let ids = config.owner_ids.clone();
        Owner::new(Arc::clone(&rest), store.clone(), config.language, ids)
    };
    let (owner, messenger) = to_owner();
    let (_, courier) = to_owner();
    let live = Live::open(&config.config_file, config.language)
        .map_err(|problem| Hold::and_retry(settings_finding(&problem)))?;
    let (current, settings) = watch::channel(live.current());
    let joined = (Arc::clone(&rest), client.clone(), owner.clone());
    let rooms = rooms(config, store, joined, settings).await?;
    let intake = Intake::open(Arc::clone(&rooms), rules(config))
        .await
        .context("reading what the intake has to know")?;
    let link = Link::default();

    let mut beside = JoinSet::new();
    beside.spawn(messenger.run());
    beside.spawn(alerts::deliver(
        config.log.dir.join("alerts"),
        config.language,
        courier,
    ));
    let renewed = look_after(
        &mut beside,
        (config, house),
        &rooms,
        (&link, intake.pulse()),
        client,
    );
    beside.spawn(watch_settings(live, current, owner.clone()));
    beside.spawn(daily(Arc::clone(&rooms), config.talk.retention_days));
    beside.spawn(tally::tell(Arc::clone(&rooms)));
    for (cause, text) in tidings {
        owner.tell(cause, text);
    }

    let (events, incoming) = mpsc::channel(WAITING_EVENTS);
    let hang_up = link.clone();
    house.shutdown.on_soft(move || hang_up.hang_up());
    let gateway = Gateway {
        rest: &rest,
        store,
        token: &config.discord.token,
        trust,
        link,
        events,
        on_no_content: Box::new(|| tell_no_content(&owner)),
    };
    let mut taking_in = tokio::spawn(intake.run(incoming, GRACE));
    let ended = stay(&gateway, &mut taking_in, &mut beside).await?;
    // The intake ends when nobody can send events any more.
    drop(gateway);
    taking_in.await.context("the intake ended in a panic")?;
    beside.shutdown().await;
    ended.map_err(|refusal| Hold::until_changed(parked(refusal)))?;
    if renewed.load(Ordering::SeqCst) && !house.shutdown.is_soft() {
        return Err(Anew.into());
    }
    Ok(())
}

/// Keeps the connection for as long as all of the bot's own loops live: without one of them it would look alive and answer
/// nobody. It ends then, and is started again.
async fn stay(
    gateway: &Gateway<'_>,
    taking_in: &mut JoinHandle<()>,
    beside: &mut JoinSet<()>,
) -> anyhow::Result<Result<(), Refusal>> {
    tokio::select! {
        ended = gateway.run() => Ok(ended),
        ended = taking_in => {
            ended.context("the intake ended in a panic")?;
            anyhow::bail!("the intake ended before its time");
        }
        error = first_panic(beside) => {
            Err(error).context("what looks after the bot ended in a panic")
        }
        () = gateway.store.gone() => anyhow::bail!("the store's thread ended before its time"),
    }
}

/// Waits for a panic in one of the tasks; one that ends in order is no news.
async fn first_panic(beside: &mut JoinSet<()>) -> JoinError {
    loop {
        match beside.join_next().await {
            Some(Err(error)) => return error,
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}

/// Starts the looks at health and models; the answer is set when the bot is to begin anew with other settings.
fn look_after(
    beside: &mut JoinSet<()>,
    (config, house): (&Config, &House),
    rooms: &Arc<Rooms>,
    (link, pulse): (&Link, watch::Receiver<Instant>),
    client: reqwest::Client,
) -> Arc<AtomicBool> {
    let (refused, is_refused) = watch::channel(false);
    let renewed = Arc::new(AtomicBool::new(false));
    let (mark, hang_up) = (Arc::clone(&renewed), link.clone());
    let ears = Arc::clone(rooms);
    let model_watch = ModelWatch {
        models: Arc::clone(&rooms.models),
        judge: Box::new(move || {
            let is_listening = !ears.channels.listening().is_empty();
            is_listening.then(|| ears.ears.judge().clone())
        }),
        owner: rooms.owner.clone(),
        changed: house.changed.clone(),
        refused,
        // Drains as for a stop, and remembers that it is none.
        renew: Box::new(move || {
            mark.store(true, Ordering::SeqCst);
            hang_up.hang_up();
        }),
    };
    let health = Health {
        heartbeat: house.heartbeat.clone(),
        link: link.clone(),
        store: rooms.store.clone(),
        intake: pulse,
        refused: is_refused,
        ping: config.ping_url.clone().map(|url| (client, url)),
    };
    beside.spawn(model_watch.attend());
    beside.spawn(health.attend());
    renewed
}

fn tell_no_content(owner: &Owner) {
    let text = no_content();
    tracing::warn!(event = "gateway.no_content", "{}", text.both());
    owner.tell("intent:content", text);
}

fn settings_finding(problem: &settings::Problem) -> Finding {
    Finding::error(
        "bot.settings",
        problem.text(),
        problem.path.display().to_string(),
        Text::new(
            "config/kotonoha.yaml を直してください。直れば自動で読み直します",
            "please mend config/kotonoha.yaml; it is read again by itself",
        ),
    )
}

/// Reads the YAML again when it changes; a bad one changes nothing and is told.
async fn watch_settings(mut live: Live, current: watch::Sender<Arc<Settings>>, owner: Owner) {
    loop {
        tokio::time::sleep(LOOK_AT_SETTINGS).await;
        match live.look() {
            None => {}
            Some(Ok(settings)) => {
                tracing::info!(
                    event = "settings.reread",
                    "config/kotonoha.yaml changed and is in force"
                );
                current.send_replace(settings);
            }
            Some(Err(problem)) => {
                tracing::error!(event = "settings.problem", problem = %problem.text().en, "config/kotonoha.yaml has a problem; what was in force stays");
                owner.tell("settings", problem.text());
            }
        }
    }
}

/// The client of everything but models has a total timeout; models have their own.
fn client(config: &Config, total: Option<Duration>) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("kotonoha/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(llm::CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::custom(same_host));
    if let Some(total) = total {
        builder = builder.timeout(total);
    }
    if let Some(path) = &config.extra_ca {
        let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        for certificate in
            reqwest::Certificate::from_pem_bundle(&pem).context("reading EXTRA_CA_FILE")?
        {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().context("building the HTTP client")
}

/// Nothing that we ask is answered by another host: a redirect must not lead into the owner's network.
fn same_host(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let is_led_on = first.is_some_and(|first| is_same(first, attempt.url()));
    if attempt.previous().len() <= MOST_REDIRECTS && is_led_on {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// The same host and port, or the same host with encryption.
fn is_same(first: &reqwest::Url, to: &reqwest::Url) -> bool {
    let is_usual = first.port().is_none() && to.port().is_none();
    let is_secured = first.scheme() == "http" && to.scheme() == "https";
    first.origin() == to.origin() || is_usual && is_secured && first.host_str() == to.host_str()
}

async fn rooms(
    config: &Config,
    store: &Store,
    (rest, client, owner): (Arc<Rest>, reqwest::Client, Owner),
    settings: watch::Receiver<Arc<Settings>>,
) -> anyhow::Result<Arc<Rooms>> {
    let models = Arc::new(Models::new(&config.llm, self::client(config, None)?));
    let budget = config.limits.monthly_budget;
    let books = (store.clone(), owner.clone());
    let purse = Purse::open(
        budget,
        settings.clone(),
        config.llm.clone(),
        config.zone(),
        books,
    )
    .await
    .context("reading what was spent this month")?;
    let eavesdrops = config.eavesdrop.channels.clone();
    let channels = Channels::open(settings.clone(), store.clone(), eavesdrops)
        .await
        .context("reading what was set by command")?;
    let judge = config.eavesdrop.judge_model.clone();
    let ears = Ears::open(store.clone(), ear_rules(config), judge)
        .await
        .context("reading who may be heard")?;
    let limits = Limits::new(
        config.limits.capacity,
        config.limits.refill,
        config.limits.per_user,
    );
    Ok(Arc::new(Rooms {
        rest,
        store: store.clone(),
        models,
        limits,
        purse,
        owner,
        client,
        manner: manner(config),
        channels,
        ears,
        settings,
        me: AtomicU64::new(0),
        gate: Gate::default(),
        views: Views::default(),
        unsaid: Unsaid::default(),
    }))
}

fn manner(config: &Config) -> Manner {
    Manner {
        language: config.language,
        zone: config.zone(),
        threads: config.talk.threads,
        streaming: config.talk.streaming,
        archive_minutes: config.talk.archive_minutes,
        context_tokens: config.llm.context_tokens,
        retention_days: config.talk.retention_days,
        log_dir: config.log.dir.clone(),
        owner_ids: config.owner_ids.clone(),
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        threads: config.talk.threads,
        catch_up_minutes: config.talk.catch_up_minutes,
    }
}

fn ear_rules(config: &Config) -> overhear::Rules {
    let pause = config.eavesdrop.min_interval;
    overhear::Rules {
        buffer_size: config.eavesdrop.buffer_size,
        min_messages: config.eavesdrop.min_messages,
        min_interval: SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX),
    }
}

/// Once at the start and then every day: old words go.
async fn daily(rooms: Arc<Rooms>, retention_days: Option<u32>) {
    loop {
        if let Some(days) = retention_days {
            let before = daemon_kit::time::now() - SignedDuration::from_hours(24 * i64::from(days));
            match rooms.store.retire_history(before).await {
                Ok(messages) => tracing::info!(
                    event = "history.retired",
                    messages,
                    days,
                    "words older than HISTORY_RETENTION_DAYS were let go"
                ),
                Err(error) => {
                    tracing::error!(event = "history.not_retired", error = %error, "old words could not be let go");
                }
            }
        }
        tokio::time::sleep(DAILY).await;
    }
}

fn no_content() -> Text {
    Text::new(
        "Discord の Developer Portal で MESSAGE CONTENT INTENT がオフです。メンションとダイレクトメッセージには返事をしますが、スレッドの中のメンションなしの発言は読めません。オンにして再起動すると使えます。",
        "MESSAGE CONTENT INTENT is off in Discord's Developer Portal. I answer mentions and direct messages, but cannot read follow-ups in threads without a mention. Turn it on and restart me.",
    )
}

/// Why asking Discord again would be wrong, and its cure.
fn parked(refusal: Refusal) -> Finding {
    match refusal {
        Refusal::Token => Finding::error(
            "discord.token",
            Text::new(
                "Discord がトークンを受け付けませんでした",
                "Discord rejected the token",
            ),
            "4004 / 401",
            Text::new(
                "Developer Portal でトークンを作り直し、.env の DISCORD_TOKEN か secrets/bot/discord_token に書いてください",
                "make a new token in the Developer Portal and put it into DISCORD_TOKEN (.env) or secrets/bot/discord_token",
            ),
        )
        .by_setting(),
        Refusal::Intents => Finding::error(
            "discord.intents",
            Text::new(
                "Discord が必要なインテントを許可していません",
                "Discord does not allow the intents",
            ),
            "4013 / 4014",
            Text::new(
                "Developer Portal の Bot の設定を確かめてください",
                "check the Bot page of the Developer Portal",
            ),
        ),
        Refusal::Outgrown(code) => Finding::error(
            "discord.outgrown",
            Text::new(
                "この版のボットでは Discord につながりません",
                "this version of the bot cannot connect to Discord any more",
            ),
            code.to_string(),
            Text::new(
                "新しい版に更新してください (KOTONOHA_VERSION)",
                "please update to a newer version (KOTONOHA_VERSION)",
            ),
        )
        .by_setting(),
    }
}
