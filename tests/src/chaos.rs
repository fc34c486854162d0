//! kill -9 at random moments while mentions flow and a share of events is replayed: every mention ends with exactly one reply.

pub mod logs;
pub mod oracle;
pub mod power;
pub mod scribe;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::world::model::echo;
use crate::world::{BOT, Id, Message};
use crate::{House, PATIENCE, World};

/// What a run of chaos does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many times the bot is killed.
    pub rounds: usize,
    /// How many mentions flow in each round.
    pub mentions: usize,
    /// Where chance begins: the same seed is the same run, as far as the machine's own timing allows.
    pub seed: u64,
    /// Share of events that the gateway sends again.
    pub replay: f64,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Mentions in all.
    pub mentions: usize,
    /// What broke the promise.
    pub violations: Vec<String>,
    /// Commits or syncs that a writer was told of.
    pub commits: i64,
    /// Archives that were restored and looked into.
    pub archives: usize,
    /// Writes that were called done while the power went, and are gone.
    pub lost_in_cut: usize,
    /// How often a program was killed, or the power cut.
    pub kills: usize,
}

/// Kills the bot `rounds` times in a burst, lets it come back once more, and counts.
pub fn bot(plan: Plan, mut told: impl FnMut(&str)) -> Outcome {
    let world = World::start();
    let house = House::new(&world);
    let mut chance = fastrand::Rng::with_seed(plan.seed);
    world.with(|state| {
        state.gateway.replay_share = plan.replay;
        state.gateway.chance = fastrand::Rng::with_seed(plan.seed ^ 1);
        state.gateway.whole_starter = true;
    });
    let people: Vec<Id> = (0..8)
        .map(|number| world.member(&format!("人{number}")))
        .collect();
    let mut said: Vec<(Id, String)> = Vec::new();
    let mut outcome = Outcome::default();
    acquaint(&world, &house, &people);
    for round in 0..plan.rounds {
        away(&world, &mut chance, &people, &mut said, round);
        let bot = house.bot_with(&world, &LONG_MEMORY);
        let deadline = Instant::now() + Duration::from_millis(chance.u64(20..1_200));
        for number in 0..plan.mentions {
            let token = format!("token-{round}-{number}.");
            said.push((speak(&world, &mut chance, &people, &said, &token), token));
            // The burst is spread over the time until the kill; part of it falls into the time when nobody listens.
            let left = deadline.saturating_duration_since(Instant::now());
            thread::sleep(left / u32::try_from(plan.mentions - number).unwrap_or(1) / 2);
        }
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        if round % 5 == 4 {
            // Kills come faster than answers: without a rest now and then only the pile of open turns would grow.
            for (id, token) in said.iter().rev().take(plan.mentions * 8) {
                waited(&world, *id, token);
            }
        }
        bot.kill();
        outcome.kills += 1;
        forget_starts(&house.database(), round);
        told(&format!(
            "round {}: {} mentions so far",
            round + 1,
            said.len()
        ));
    }
    let bot = house.bot_with(&world, &LONG_MEMORY);
    for (id, token) in &said {
        if !waited(&world, *id, token) {
            outcome
                .violations
                .push(format!("{token} was never answered"));
        }
    }
    drop(bot.stop());
    judge(&world, &house, &said, &mut outcome);
    world.expect_all();
    outcome.mentions = said.len();
    outcome
        .violations
        .extend(world.with(|state| std::mem::take(&mut state.violations)));
    if !outcome.violations.is_empty() {
        let story = world.with(|state| state.story.join("\n"));
        told(&story);
    }
    world.finish();
    outcome
}

/// After sixty starts within a day a bot waits before the next one, and here they are minutes apart: now and then they
/// are forgotten. Only now and then, since whoever opens a database does the work that the bot should find to do.
fn forget_starts(database: &Path, round: usize) {
    if round % 40 == 39 {
        let connection = Connection::open(database).expect("the database");
        let gone = connection.execute("DELETE FROM identifies", []);
        gone.expect("the starts");
    }
}

/// Half hours of driven time pass between the rounds; a mention of the first round must not grow too old for the last.
const LONG_MEMORY: [(&str, &str); 1] = [("CATCH_UP_MINUTES", "10080")];

/// Discord does not tell a bot which direct messages exist: one that begins while it is away can be found only by its
/// second word. So everybody has spoken with it alone once before.
fn acquaint(world: &World, house: &House, people: &[Id]) {
    let bot = house.bot_with(world, &LONG_MEMORY);
    for person in people {
        let said = world.direct(*person, "はじめまして。");
        world.answer(said, &echo("はじめまして。"));
    }
    drop(bot.stop());
}

/// Between two lives: sometimes half an hour passes, and sometimes people speak meanwhile.
fn away(
    world: &World,
    chance: &mut fastrand::Rng,
    people: &[Id],
    said: &mut Vec<(Id, String)>,
    round: usize,
) {
    for number in 0..chance.usize(0..3) {
        let token = format!("token-{round}-away-{number}.");
        said.push((speak(world, chance, people, said, &token), token));
    }
    if chance.u8(..5) == 0 {
        world.with(|state| state.ahead += Duration::from_mins(30));
        let token = format!("token-{round}-late.");
        said.push((speak(world, chance, people, said, &token), token));
    }
}

/// A mention in the channel, a follow-up in an earlier thread, or a direct message.
fn speak(
    world: &World,
    chance: &mut fastrand::Rng,
    people: &[Id],
    said: &[(Id, String)],
    token: &str,
) -> Id {
    let person = people[chance.usize(..people.len())];
    match chance.u8(..10) {
        0 => world.direct(person, token),
        1 | 2 => {
            let thread = chance
                .choice(said)
                .map(|(id, _)| *id)
                .filter(|id| world.with(|state| state.channels.contains_key(id)));
            thread.map_or_else(
                || world.mention(person, world.general(), token),
                |thread| world.say(person, thread, token),
            )
        }
        _ => world.mention(person, world.general(), token),
    }
}

/// Messages of the bot that hold the model's answer to a token, whole or begun.
fn holding(world: &World, token: &str) -> Vec<Message> {
    world.with(|state| {
        state
            .messages
            .values()
            .filter(|message| {
                message.author == BOT && !message.deleted && message.content.contains(token)
            })
            .cloned()
            .collect()
    })
}

fn waited(world: &World, said: Id, token: &str) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if !holding(world, token).is_empty()
            || world
                .answers(said)
                .iter()
                .any(|message| message.words() == echo(token))
        {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

fn judge(world: &World, house: &House, said: &[(Id, String)], outcome: &mut Outcome) {
    for (_, token) in said {
        let found = holding(world, token);
        if found.len() != 1 {
            let all: Vec<&str> = found
                .iter()
                .map(|message| message.content.as_str())
                .collect();
            outcome
                .violations
                .push(format!("{token} has {} answers: {all:?}", found.len()));
        }
    }
    // Nothing else was said: no note of failure, no half answer left standing.
    let mine = world.spoken();
    for message in mine.iter().filter(|message| !message.expected) {
        if !said.iter().any(|(_, token)| message.words() == echo(token)) {
            outcome
                .violations
                .push(format!("nobody asked for: {}", message.content));
        }
    }
    let sound: rusqlite::Result<String> =
        house
            .look()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0));
    if sound.as_deref() != Ok("ok") {
        outcome
            .violations
            .push(format!("integrity_check: {sound:?}"));
    }
}
