//! `cargo demo`: the whole house in one command, offline and without an account. The three real programs run against the
//! stand-in world; every step is checked, and the exit code is 0 only when each of them held.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::house::{binary, walk};
use tests::world::model::echo;
use tests::world::{Act, BOT, Id};
use tests::{House, PATIENCE, Running, World};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        None => tell(),
        Some("--interactive" | "-i") => talk(),
        Some("world") => serve(
            words.get(1).map_or("127.0.0.1:8900", String::as_str),
            words.get(2).map(String::as_str),
        ),
        Some(_) => {
            say(
                "usage: cargo demo [--interactive]\n       cargo demo world [ADDRESS [URL]]   only the stand-in Discord and models; URL is how others reach it",
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nThe story broke: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line for the reader. One that went away ends nothing.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

fn chapter(number: usize, title: &str) {
    say(&format!("\n── {number}. {title}"));
}

fn checked(what: &str) {
    say(&format!("   ✓ {what}"));
}

fn member(name: &str, text: &str) {
    say(&format!("   {name}: {text}"));
}

/// The scripted story.
fn tell() -> Result<()> {
    say(
        "kotonoha, the whole house: bot, backup-sidecar and log-shipper, against a Discord and a model that live in this process.",
    );
    say("Building the three programs (the first time takes minutes) …");
    binary("bot");
    let begun = Instant::now();
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");

    chapter(
        1,
        "A member calls, and is answered in a thread of their own",
    );
    let bot = start_bot(&world, &house)?;
    let thread = first_words(&world, hana)?;

    chapter(2, "A follow-up needs no mention, and the bot remembers");
    follow_up(&world, hana, thread)?;

    chapter(3, "kill -9 in the middle of an answer");
    let bot = sudden_end(&world, &house, hana, bot)?;

    chapter(
        4,
        "A backup while the bot writes: verified, restored beside, compared",
    );
    let sidecar = back_up(&world, &house, hana)?;

    chapter(
        5,
        "A closed log segment is compressed with proof, and searched",
    );
    let shipper = logs(&house)?;

    chapter(6, "Everything ends when it is told to");
    for (name, program) in [
        ("bot", bot),
        ("backup-sidecar", sidecar),
        ("log-shipper", shipper),
    ] {
        let memory = resident_kib(program.pid());
        let ended = program.stop();
        ensure!(
            ended.code == Some(0),
            "{name} ended with {:?}: {}",
            ended.code,
            ended.stderr
        );
        checked(&format!(
            "{name}: {} KiB resident in this unoptimised build, SIGTERM, exit code 0",
            memory.unwrap_or_default()
        ));
    }
    let logs = house.all_logs();
    ensure!(
        !logs.contains("ミケ") && !logs.contains("canary"),
        "a word or a key is in the logs"
    );
    checked("no word anybody said, no name and no key is in any log");
    world.finish();
    say(&format!(
        "\nEvery step was checked, in {:.1} s. Nothing left this machine, and the house is gone.",
        begun.elapsed().as_secs_f64()
    ));
    say("Try it yourself: cargo demo --interactive");
    Ok(())
}

fn start_bot(world: &World, house: &House) -> Result<Running> {
    let begun = Instant::now();
    let mut bot = house.bot(world);
    ensure!(bot.alive(), "the bot ended at once");
    checked(&format!(
        "the bot is connected {:.0} ms after its start",
        begun.elapsed().as_secs_f64() * 1e3
    ));
    Ok(bot)
}

fn first_words(world: &World, hana: Id) -> Result<Id> {
    let text = "こんにちは。うちの猫はミケといいます";
    member("花", &format!("@kotonoha {text}"));
    let begun = Instant::now();
    let said = world.mention(hana, world.general(), text);
    let reply = world.answer(said, &echo(text));
    member("kotonoha", &reply.content);
    ensure!(reply.channel == said, "the answer is not in the thread");
    let name = world.with(|state| state.channels[&said].name.clone());
    checked(&format!(
        "answered in the new thread 「{name}」 after {:.0} ms",
        begun.elapsed().as_secs_f64() * 1e3
    ));
    Ok(said)
}

fn follow_up(world: &World, hana: Id, thread: Id) -> Result<()> {
    let text = "猫の名前を覚えてる";
    member("花", text);
    let said = world.say(hana, thread, text);
    let reply = world.answer(said, &echo(text));
    member("kotonoha", &reply.content);
    let prompt = world
        .asked()
        .pop()
        .context("no request reached the model")?;
    ensure!(
        prompt.raw.contains("ミケ"),
        "the first words are not in the prompt"
    );
    checked("the model was told what was said before in this thread, and nothing else");
    Ok(())
}

fn sudden_end(world: &World, house: &House, hana: Id, bot: Running) -> Result<Running> {
    let text = "むかし話をひとつ聞かせて";
    world.model(
        1,
        Act::StallAfter("むかしむかし、あるところに。おじいさんと".to_owned()),
    );
    member("花", &format!("@kotonoha {text}"));
    let said = world.mention(hana, world.general(), text);
    let half = world.expect("the first words", |message| {
        message.content.contains("むかしむかし")
    });
    member("kotonoha", &half.content);
    bot.kill();
    say("   (kill -9. A new life begins.)");
    let bot = start_bot(world, house)?;
    let reply = world.answer(said, &echo(text));
    member("kotonoha", &reply.content);
    let mine = world.answers(said);
    ensure!(mine.len() == 1, "{} answers instead of one", mine.len());
    ensure!(
        reply.id == half.id,
        "the half answer was left standing or replaced"
    );
    checked("the unfinished answer was finished, in the same message, exactly once");
    Ok(bot)
}

fn back_up(world: &World, house: &House, hana: Id) -> Result<Running> {
    let before = stored(house)?;
    let sidecar = house
        .program("backup-sidecar")
        .env("BACKUP_SCHEDULE", "0 2 * * *")
        .start();
    // People go on talking while the snapshot is taken.
    for number in 1..=12 {
        let text = format!("バックアップ中のひとこと {number}");
        let said = world.mention(hana, world.general(), &text);
        world.answer(said, &echo(&text));
    }
    checked("twelve members' words were answered meanwhile");
    let archive = wait_for("an archive", || {
        walk(&house.backups()).into_iter().find(|path| {
            name_of(path).starts_with("backup_") && name_of(path).ends_with(".tar.zst")
        })
    })?;
    checked(&format!(
        "{} ({} bytes) was verified before it got its name",
        name_of(&archive),
        std::fs::metadata(&archive)?.len()
    ));
    let verified = house.program("backup-sidecar").args(["verify"]).run();
    ensure!(
        verified.code == Some(0),
        "verify: {}{}",
        verified.stdout,
        verified.stderr
    );
    let beside = house.path("tmp/restored");
    let restored = house
        .program("backup-sidecar")
        .args(["restore", "latest", "--to"])
        .args([beside.as_os_str()])
        .run();
    ensure!(
        restored.code == Some(0),
        "restore: {}{}",
        restored.stdout,
        restored.stderr
    );
    let copy = walk(&beside)
        .into_iter()
        .find(|path| name_of(path) == "sessions.db")
        .context("no database in the restored directory")?;
    let copy = rusqlite::Connection::open(copy)?;
    let sound: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let words: i64 = copy.query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?;
    ensure!(
        sound == "ok" && words >= before,
        "{sound}, {words} messages instead of at least {before}"
    );
    checked(&format!(
        "restored beside the living one: integrity ok, {words} messages, at least the {before} that stood before it began"
    ));
    Ok(sidecar)
}

fn logs(house: &House) -> Result<Running> {
    let shipper = house.program("log-shipper").start();
    let packed = wait_for("a compressed segment", || {
        walk(&house.logs())
            .into_iter()
            .find(|path| name_of(path).starts_with("bot.") && name_of(path).ends_with(".log.zst"))
    })?;
    let lines = zstd::decode_all(&*std::fs::read(&packed)?)?;
    let lines = String::from_utf8(lines)?;
    ensure!(
        lines
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "a line is not JSON"
    );
    checked(&format!(
        "{}: {} lines, readable with stock zstd",
        name_of(&packed),
        lines.lines().count()
    ));
    let found = house
        .program("log-shipper")
        .args(["search", "--service", "bot", "--json", "."])
        .run();
    ensure!(found.code == Some(0), "search: {}", found.stderr);
    let first = lines.lines().next().context("an empty segment")?;
    ensure!(
        found.stdout.contains(first),
        "the search did not find the first line of the compressed segment"
    );
    checked(&format!(
        "a search went through plain and compressed alike: {} lines of the bot",
        found.stdout.lines().count()
    ));
    Ok(shipper)
}

fn stored(house: &House) -> Result<i64> {
    Ok(house
        .look()
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))?)
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn wait_for(what: &str, mut look: impl FnMut() -> Option<PathBuf>) -> Result<PathBuf> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn resident_kib(pid: u32) -> Option<u64> {
    let facts = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    facts
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The reader is the member.
fn talk() -> Result<()> {
    say("Building the three programs …");
    binary("bot");
    let world = World::start();
    let house = House::new(&world);
    let you = world.member("あなた");
    let bot = house.bot_with(&world, &[("LLM_MODEL", "echo/echo")]);
    say(
        "You are a member now. Everything you type is said to kotonoha in one thread; an empty line or Ctrl-D ends it.",
    );
    say("(The answering model is `echo`: it needs no key and says back what it heard.)");
    let mut thread: Option<Id> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            break;
        }
        let said = match thread {
            Some(thread) => world.say(you, thread, &line),
            None => world.mention(you, world.general(), &line),
        };
        thread.get_or_insert(said);
        let reply = world.wait("an answer", |state| {
            state
                .messages
                .values()
                .find(|message| {
                    message.author == BOT && message.id > said && !message.content.is_empty()
                })
                .cloned()
        });
        say(&format!("kotonoha: {}", reply.content));
    }
    bot.stop();
    world.expect_all();
    world.finish();
    Ok(())
}

/// How often the member calls: slower than the limit of mentions a minute and member.
const CALL_EVERY: Duration = Duration::from_secs(8);

/// Only the world, for containers and for bots of other makes: a member calls now and then. SIGTERM ends it at once.
fn serve(address: &str, public: Option<&str>) -> Result<()> {
    let world = World::start_on(address);
    if let Some(url) = public {
        world.with(|state| url.clone_into(&mut state.url));
    }
    let url = world.with(|state| state.url.clone());
    say(&format!(
        "A stand-in Discord and models listen on {address}.\nDISCORD_TOKEN={}\nDISCORD_API_URL={url}\nANTHROPIC_BASE_URL={url}/anthropic",
        tests::world::TOKEN
    ));
    let hana = world.member("花");
    let mut number = 0;
    loop {
        if world.with(|state| state.gateway.connected()) > 0 {
            number += 1;
            let text = format!("こんにちは、{number}回目です");
            member("花", &format!("@kotonoha {text}"));
            let said = world.mention(hana, world.general(), &text);
            answered(&world, said, &text);
        }
        thread::sleep(CALL_EVERY);
        world.with(|state| state.story.clear());
    }
}

/// Shows the answer when it is whole; a bot that is away costs one call.
fn answered(world: &World, said: Id, text: &str) {
    let until = Instant::now() + CALL_EVERY;
    while Instant::now() < until {
        let whole = echo(text);
        if let Some(reply) = world
            .answers(said)
            .into_iter()
            .find(|reply| reply.content.contains(&whole))
        {
            return member("kotonoha", &reply.content.replace('\n', " "));
        }
        thread::sleep(Duration::from_millis(100));
    }
    say("   (no answer yet)");
}
