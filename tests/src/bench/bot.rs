//! The bot's footprint and speed, against a stand-in Discord and a model that answers at once, beside a minimal bot on
//! discord.py in the same run. The predecessor's figures stand in the rows' names: they were measured elsewhere.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::peer::{self, Peer};
use super::{Band, Row, Sample, Table, cpu_ms, exact_cpu_ms, memory_kib};
use crate::house::{House, Launch, Running, binary};
use crate::world::{Act, BOT, Id, State, World};

/// Every answer of the stand-in model ends so; a remark may follow.
const LAST_CHARACTER: char = '」';

/// Whose bot is measured.
#[derive(Clone, Copy)]
enum Bot<'a> {
    Ours,
    Peer(&'a Peer),
}

impl Bot<'_> {
    fn launch(self, house: &House) -> Launch {
        match self {
            Self::Ours => house.program("bot"),
            Self::Peer(peer) => peer.bot(house),
        }
    }

    fn connected(self, house: &House, world: &World) -> Running {
        let bot = self.launch(house).start();
        world.connected();
        bot
    }
}

/// Measures the bot: `mentions` for speed, `conversations` for memory, `rounds` starts.
///
/// # Errors
/// When a tool that the figures need is missing.
pub fn measure(
    mentions: usize,
    conversations: usize,
    rounds: usize,
    table: &mut Table,
) -> Result<()> {
    let peer = match Peer::install() {
        Ok(peer) => Some(peer),
        Err(error) => {
            table.note(format!("discord.py is not in the table: {error:#}"));
            None
        }
    };
    sizes(table)?;
    starts(rounds, peer.as_ref(), table);
    talk(mentions, conversations, peer.as_ref(), table);
    ten_people(table);
    for in_flight in [1, 8, 32] {
        sustained(in_flight, mentions, rounds, peer.as_ref(), table);
    }
    disk(mentions, table)?;
    idle_sidecar(table);
    Ok(())
}

/// A row beside the peer, where there is one.
fn row(what: impl Into<String>, ours: Sample, theirs: Option<Sample>, band: Band) -> Row {
    match theirs {
        Some(theirs) => Row::beside(what, ours, peer::PACKAGE, theirs, band),
        None => Row::alone(what, ours, band),
    }
}

fn sizes(table: &mut Table) -> Result<()> {
    let mut whole = 0.0;
    for name in ["bot", "backup-sidecar", "log-shipper"] {
        whole += fs::metadata(binary(name))?.len() as f64 / 1e6;
    }
    table.add(Row::alone(
        "three programs, not yet static as in an image, MB",
        Sample::of([whole]),
        Band::AtMost(30.0),
    ));
    Ok(())
}

/// A mention, and whether its answer stands whole.
fn is_answered(state: &State, said: Id) -> bool {
    let later = state.messages.range(said..);
    later.map(|(_, message)| message).any(|message| {
        let to_it = message.channel == said || message.reply_to == Some(said);
        message.author == BOT && to_it && message.words().ends_with(LAST_CHARACTER)
    })
}

/// The end of a story in which only time was of interest.
fn end(world: World, bot: Bot<'_>) {
    if let Bot::Peer(_) = bot {
        // It need not keep our rules.
        world.with(|state| state.violations.clear());
    }
    world.expect_all();
    world.finish();
}

pub(super) fn mention(world: &World, who: Id) -> f64 {
    let begun = Instant::now();
    let said = world.mention(who, world.general(), "おはよう");
    world.wait("an answer", |state| is_answered(state, said).then_some(()));
    begun.elapsed().as_secs_f64() * 1e3
}

/// One more message in a thread, from saying it to its whole answer.
pub(super) fn follow_up(world: &World, who: Id, thread: Id) -> f64 {
    let begun = Instant::now();
    let said = world.say(who, thread, "つづき");
    world.wait("an answer in the thread", |state| {
        let later = state.messages.range(said + 1..).map(|(_, message)| message);
        let mut answers =
            later.filter(|message| message.author == BOT && message.channel == thread);
        answers
            .any(|message| message.words().ends_with(LAST_CHARACTER))
            .then_some(())
    });
    begun.elapsed().as_secs_f64() * 1e3
}

#[derive(Default)]
struct Starts {
    identify: Sample,
    first: Sample,
    cpu: Sample,
}

impl Starts {
    fn add(&mut self, bot: Bot<'_>) {
        let world = World::start();
        let house = House::new(&world);
        let who = world.member("はな");
        let launch = bot.launch(&house);
        let begun = Instant::now();
        let running = launch.start();
        world.wait("IDENTIFY", |state| {
            (state.gateway.identifies > 0).then_some(())
        });
        self.identify.add(begun.elapsed().as_secs_f64() * 1e3);
        world.connected();
        mention(&world, who);
        self.first.add(begun.elapsed().as_secs_f64() * 1e3);
        self.cpu.add(cpu_ms(running.pid()));
        running.stop();
        end(world, bot);
    }
}

fn starts(rounds: usize, peer: Option<&Peer>, table: &mut Table) {
    let (mut ours, mut theirs) = (Starts::default(), Starts::default());
    for _ in 0..rounds {
        ours.add(Bot::Ours);
        if let Some(peer) = peer {
            theirs.add(Bot::Peer(peer));
        }
    }
    let mut add = |what: &str, of: fn(&Starts) -> &Sample, most| {
        let theirs = peer.map(|_| of(&theirs).clone());
        table.add(row(what, of(&ours).clone(), theirs, Band::AtMost(most)));
    };
    add(
        "start → IDENTIFY, ms (predecessor 1,350)",
        |starts| &starts.identify,
        100.0,
    );
    add(
        "start → first mention answered, ms (predecessor 3,500)",
        |starts| &starts.first,
        200.0,
    );
    add(
        "CPU from start to first reply, ms (predecessor 1,500; steps of 10)",
        |starts| &starts.cpu,
        75.0,
    );
}

fn resident_mib(bot: &Running) -> f64 {
    memory_kib(bot.pid(), "VmRSS").unwrap_or(f64::NAN) / 1024.0
}

/// What talking with one bot costs.
struct Talk {
    /// After 30 s and one reply, MiB.
    resident: f64,
    mentions: Sample,
    /// Of one mention, ms.
    cpu: f64,
    follow_ups: Sample,
}

impl Talk {
    fn with(bot: Bot<'_>, mentions: usize) -> (Self, World, Running, House) {
        let world = World::start();
        let house = House::new(&world);
        let who = world.member("はな");
        let running = bot.connected(&house, &world);
        mention(&world, who);
        thread::sleep(Duration::from_secs(30));
        let resident = resident_mib(&running);
        let before = exact_cpu_ms(running.pid());
        let latencies = Sample::of((0..mentions).map(|_| mention(&world, who)));
        let cpu = (exact_cpu_ms(running.pid()) - before) / mentions as f64;
        let said = world.mention(who, world.general(), "話そう");
        world.wait("a thread", |state| is_answered(state, said).then_some(()));
        let follow_ups = Sample::of((0..mentions).map(|_| follow_up(&world, who, said)));
        let talk = Self {
            resident,
            mentions: latencies,
            cpu,
            follow_ups,
        };
        (talk, world, running, house)
    }
}

fn talk(mentions: usize, conversations: usize, peer: Option<&Peer>, table: &mut Table) {
    let theirs = peer.map(|peer| {
        let (talk, world, running, _house) = Talk::with(Bot::Peer(peer), mentions);
        running.stop();
        end(world, Bot::Peer(peer));
        talk
    });
    let (ours, world, running, _house) = Talk::with(Bot::Ours, mentions);
    let mut add = |what: String, of: &dyn Fn(&Talk) -> f64, most| {
        let theirs = theirs.as_ref().map(|talk| Sample::of([of(talk)]));
        table.add(row(
            what,
            Sample::of([of(&ours)]),
            theirs,
            Band::AtMost(most),
        ));
    };
    let what = "RSS 30 s after start, one reply given, MiB (predecessor 200)";
    add(what.to_owned(), &|talk| talk.resident, 20.0);
    let what = "CPU per mention, ms (predecessor 10.4)";
    add(what.to_owned(), &|talk| talk.cpu, 1.0);
    for (name, part, bands) in [("p50", 0.5, [4.0, 2.5]), ("p99", 0.99, [10.0, 8.0])] {
        let what = format!("mention → reply in a new thread, {name} ms (predecessor 14.4 / 23.5)");
        add(what, &|talk| talk.mentions.quantile(part), bands[0]);
        let what = format!("follow-up in a thread, {name} ms (predecessor 7.9 / 12.5)");
        add(what, &|talk| talk.follow_ups.quantile(part), bands[1]);
    }
    let who = world.member("はな");
    for _ in mentions..conversations {
        mention(&world, who);
    }
    let after = resident_mib(&running);
    table.add(Row::alone(
        format!("RSS after {conversations} conversations, MiB (predecessor 210)"),
        Sample::of([after]),
        Band::AtMost(24.0),
    ));
    for _ in 0..conversations {
        mention(&world, who);
    }
    table.add(Row::alone(
        format!("growth over {conversations} further ones, MiB"),
        Sample::of([resident_mib(&running) - after]),
        Band::AtMost(2.0),
    ));
    running.stop();
    end(world, Bot::Ours);
}

fn ten_people(table: &mut Table) {
    let world = World::start();
    let house = House::new(&world);
    let people: Vec<Id> = (0..10)
        .map(|number| world.member(&format!("member-{number}")))
        .collect();
    let bot = house.bot(&world);
    world.model(
        people.len(),
        Act::Slow(Duration::from_secs(2), Box::new(Act::Echo)),
    );
    let begun = Instant::now();
    let said: Vec<Id> = people
        .iter()
        .map(|who| world.mention(*who, world.general(), "いますか"))
        .collect();
    for said in said {
        world.wait("an answer", |state| is_answered(state, said).then_some(()));
    }
    let last = Sample::of([begun.elapsed().as_secs_f64()]);
    table.add(Row::alone(
        "10 people at once, 2 s model: last answer, s (predecessor 20.6)",
        last,
        Band::AtMost(2.5),
    ));
    bot.stop();
    end(world, Bot::Ours);
}

fn rate(bot: Bot<'_>, in_flight: usize, mentions: usize) -> f64 {
    let world = World::start();
    let house = House::new(&world);
    let running = bot.connected(&house, &world);
    let left = AtomicUsize::new(mentions);
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..in_flight {
            let (world, left) = (&world, &left);
            scope.spawn(move || {
                let who = world.member(&format!("member-{number}"));
                let take = |left: usize| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
                {
                    mention(world, who);
                }
            });
        }
    });
    let rate = mentions as f64 / begun.elapsed().as_secs_f64();
    running.stop();
    end(world, bot);
    rate
}

fn sustained(
    in_flight: usize,
    mentions: usize,
    rounds: usize,
    peer: Option<&Peer>,
    table: &mut Table,
) {
    let (mut ours, mut theirs) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        ours.add(rate(Bot::Ours, in_flight, mentions));
        if let Some(peer) = peer {
            theirs.add(rate(Bot::Peer(peer), in_flight, mentions));
        }
    }
    let band = if in_flight == 32 {
        Band::AtLeast(500.0)
    } else {
        Band::Shown
    };
    table.add(row(
        format!("mentions a second, {in_flight} in flight (predecessor 68)"),
        ours,
        peer.map(|_| theirs),
        band,
    ));
}

/// What the store writes: bytes and syncs by the system calls on the database and its log, counted by strace.
fn disk(mentions: usize, table: &mut Table) -> Result<()> {
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let trace = house.path("tmp/trace");
    // The tracer stands beside: signals reach the bot itself.
    let words = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-y",
        "-e",
        "trace=pwrite64,fdatasync,fsync",
        "-o",
    ];
    let strace = words
        .map(str::to_owned)
        .into_iter()
        .chain([trace.display().to_string()]);
    let bot = house.program("bot").under(strace).start();
    world.connected();
    mention(&world, who);
    let written = || -> Result<(f64, f64)> {
        let text = fs::read_to_string(&trace).context("strace wrote nothing: is it installed?")?;
        let of_the_store = text.lines().filter(|line| line.contains("sessions.db"));
        let (mut bytes, mut syncs) = (0.0, 0.0);
        for line in of_the_store {
            let result = line
                .rsplit("= ")
                .next()
                .and_then(|text| text.trim().parse::<f64>().ok());
            if line.contains("pwrite64(") {
                bytes += result.unwrap_or(0.0);
            } else {
                syncs += 1.0;
            }
        }
        Ok((bytes, syncs))
    };
    let mut shares = Vec::new();
    for _ in 0..2 {
        let before = written()?;
        for _ in 0..mentions / 2 {
            mention(&world, who);
        }
        let after = written()?;
        let count = (mentions / 2) as f64;
        shares.push((
            (after.0 - before.0) / count / 1024.0,
            (after.1 - before.1) / count,
        ));
    }
    bot.stop();
    end(world, Bot::Ours);
    for (half, (kib, syncs)) in ["first", "second"].iter().zip(&shares) {
        table.add(Row::alone(
            format!("database and WAL bytes a mention, {half} half, KiB (predecessor 199)"),
            Sample::of([*kib]),
            Band::AtMost(20.0),
        ));
        table.add(Row::alone(
            format!("syncs a mention, {half} half, checkpoints' included (predecessor 10)"),
            Sample::of([*syncs]),
            Band::AtMost(2.5),
        ));
    }
    Ok(())
}

fn idle_sidecar(table: &mut Table) {
    let house = House::alone();
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event("start");
    thread::sleep(Duration::from_secs(10));
    let before = exact_cpu_ms(sidecar.pid());
    thread::sleep(Duration::from_secs(60));
    let used = exact_cpu_ms(sidecar.pid()) - before;
    let anonymous = memory_kib(sidecar.pid(), "RssAnon").unwrap_or(f64::NAN) / 1024.0;
    sidecar.stop();
    table.add(Row::alone(
        "backup sidecar idle, CPU ms a minute",
        Sample::of([used]),
        Band::AtMost(20.0),
    ));
    table.add(Row::alone(
        "backup sidecar idle, anonymous memory, MiB",
        Sample::of([anonymous]),
        Band::AtMost(6.0),
    ));
}
