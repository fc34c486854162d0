//! The bot's footprint and speed, against a stand-in Discord and a model that answers at once.
//!
//! The predecessor's figures stand in the design (they were measured elsewhere); `--peer` measures a minimal bot on
//! discord.py beside ours, in the same run.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Band, Row, Sample, Table, cpu_ms, memory_kib};
use crate::house::{House, Running, binary};
use crate::world::{Act, BOT, Id, State, World};

/// Every answer of the stand-in model ends so.
const LAST_CHARACTER: char = '」';

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
    sizes(table)?;
    starts(rounds, table);
    talk(mentions, conversations, table);
    ten_people(table);
    for in_flight in [1, 8, 32] {
        sustained(in_flight, mentions, rounds, table);
    }
    disk(mentions, table)?;
    idle_sidecar(table);
    Ok(())
}

fn sizes(table: &mut Table) -> Result<()> {
    let mut whole = 0.0;
    for name in ["bot", "backup-sidecar", "log-shipper"] {
        whole += fs::metadata(binary(name))?.len() as f64 / 1e6;
    }
    table.add(Row::alone(
        "three programs (an image holds nothing else), MB",
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
fn end(world: World) {
    world.expect_all();
    world.finish();
}

fn mention(world: &World, who: Id) -> f64 {
    let begun = Instant::now();
    let said = world.mention(who, world.general(), "おはよう");
    world.wait("an answer", |state| is_answered(state, said).then_some(()));
    begun.elapsed().as_secs_f64() * 1e3
}

/// One more message in a thread, from saying it to its whole answer.
fn follow_up(world: &World, who: Id, thread: Id) -> f64 {
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

fn starts(rounds: usize, table: &mut Table) {
    let (mut identify, mut first, mut cpu) =
        (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..rounds {
        let world = World::start();
        let house = House::new(&world);
        let who = world.member("はな");
        let begun = Instant::now();
        let bot = house.program("bot").start();
        world.wait("IDENTIFY", |state| {
            (state.gateway.identifies > 0).then_some(())
        });
        identify.add(begun.elapsed().as_secs_f64() * 1e3);
        world.connected();
        mention(&world, who);
        first.add(begun.elapsed().as_secs_f64() * 1e3);
        cpu.add(cpu_ms(bot.pid()));
        bot.stop();
        end(world);
    }
    table.add(Row::alone(
        "start → IDENTIFY, ms (predecessor 1,350)",
        identify,
        Band::AtMost(100.0),
    ));
    table.add(Row::alone(
        "start → first mention answered, ms (predecessor 3,500)",
        first,
        Band::AtMost(200.0),
    ));
    table.add(Row::alone(
        "CPU from start to first reply, ms (predecessor 1,500; steps of 10)",
        cpu,
        Band::AtMost(75.0),
    ));
}

fn resident_mib(bot: &Running) -> f64 {
    memory_kib(bot.pid(), "VmRSS").unwrap_or(f64::NAN) / 1024.0
}

fn talk(mentions: usize, conversations: usize, table: &mut Table) {
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let bot = house.bot(&world);
    mention(&world, who);
    thread::sleep(Duration::from_secs(30));
    table.add(Row::alone(
        "RSS 30 s after start, MiB (predecessor 200)",
        Sample::of([resident_mib(&bot)]),
        Band::AtMost(20.0),
    ));

    let before = cpu_ms(bot.pid());
    let latencies = Sample::of((0..mentions).map(|_| mention(&world, who)));
    let cpu = (cpu_ms(bot.pid()) - before) / mentions as f64;
    quantiles(
        "mention → reply in a new thread",
        &latencies,
        [4.0, 10.0],
        "14.4 / 23.5",
        table,
    );
    table.add(Row::alone(
        "CPU per mention, ms (predecessor 10.4)",
        Sample::of([cpu]),
        Band::AtMost(1.0),
    ));

    let said = world.mention(who, world.general(), "話そう");
    world.wait("a thread", |state| is_answered(state, said).then_some(()));
    let latencies = Sample::of((0..mentions).map(|_| follow_up(&world, who, said)));
    quantiles(
        "follow-up in a thread",
        &latencies,
        [2.5, 8.0],
        "7.9 / 12.5",
        table,
    );

    for _ in mentions..conversations {
        mention(&world, who);
    }
    let after = resident_mib(&bot);
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
        Sample::of([resident_mib(&bot) - after]),
        Band::AtMost(2.0),
    ));
    bot.stop();
    end(world);
}

fn quantiles(
    what: &str,
    latencies: &Sample,
    bands: [f64; 2],
    predecessor: &str,
    table: &mut Table,
) {
    for (name, part, band) in [("p50", 0.5, bands[0]), ("p99", 0.99, bands[1])] {
        table.add(Row::alone(
            format!("{what}, {name} ms (predecessor p50 / p99 {predecessor})"),
            Sample::of([latencies.quantile(part)]),
            Band::AtMost(band),
        ));
    }
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
    end(world);
}

fn sustained(in_flight: usize, mentions: usize, rounds: usize, table: &mut Table) {
    let mut rates = Sample::default();
    for _ in 0..rounds {
        let world = World::start();
        let house = House::new(&world);
        let bot = house.bot(&world);
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
        rates.add(mentions as f64 / begun.elapsed().as_secs_f64());
        bot.stop();
        end(world);
    }
    let band = if in_flight == 32 {
        Band::AtLeast(500.0)
    } else {
        Band::Shown
    };
    table.add(Row::alone(
        format!("mentions a second, {in_flight} in flight (predecessor 68)"),
        rates,
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
    end(world);
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
    let before = cpu_ms(sidecar.pid());
    thread::sleep(Duration::from_secs(60));
    let used = cpu_ms(sidecar.pid()) - before;
    let anonymous = memory_kib(sidecar.pid(), "RssAnon").unwrap_or(f64::NAN) / 1024.0;
    sidecar.stop();
    table.add(Row::alone(
        "backup sidecar idle, CPU ms a minute (steps of 10)",
        Sample::of([used]),
        Band::AtMost(20.0),
    ));
    table.add(Row::alone(
        "backup sidecar idle, anonymous memory, MiB",
        Sample::of([anonymous]),
        Band::AtMost(6.0),
    ));
}
