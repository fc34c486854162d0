//! Random programs of {write, rotate, crash the writer, kill the shipper, fill the disk, remount it read-only, jump the
//! clock, prune, search, let a backup read} against a model: every line is in exactly one of active, closed, compressed
//! and pruned-by-plan, for ever.

mod desk;
mod reading;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use self::desk::Desk;
use crate::House;
use crate::disk::Disk;

pub use reading::{Shelf, found, shelf};

/// Large enough for a few thousand lines, small enough to be filled in a moment.
const DISK_MIB: u64 = 40;

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Programs that ran.
    pub rounds: usize,
    /// How often each verb was carried out.
    pub verbs: BTreeMap<&'static str, u64>,
    /// What broke the promise, with the program that did.
    pub violations: Vec<String>,
    /// Why disks were neither filled nor made read-only, if so.
    pub without_disk: Option<String>,
}

impl Outcome {
    /// `N rounds, 0 violations (…)`
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} rounds, {} violations (",
            self.rounds,
            self.violations.len()
        );
        for (number, (verb, count)) in self.verbs.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            write!(text, "{comma}{verb} {count}").ok();
        }
        text + ")"
    }
}

/// One verb with its numbers: a program can be told again from its text.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64),
    Rotate,
    CrashWriter(Duration, bool),
    Ship(Duration, bool),
    Sweep,
    Fill,
    Remount,
    Jump(i64),
    Prune,
    Search,
    Backup(Duration),
}

/// Runs `rounds` programs. The same seed gives the same programs; the kills hit where the machine's own timing lets
/// them.
///
/// # Errors
/// When the machine, not the promise, fails.
pub fn run(rounds: usize, seed: u64, mut told: impl FnMut(&str)) -> Result<Outcome> {
    let (disk, why) = match Disk::new(DISK_MIB) {
        Ok(disk) => (Some(disk), None),
        Err(why) => (None, Some(format!("{why:#}"))),
    };
    let house = House::alone();
    let mut outcome = Outcome {
        without_disk: why,
        ..Outcome::default()
    };
    for round in 0..rounds {
        let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(round as u64));
        let max_bytes = chance.choice([24_u64 << 10, 200 << 10, 3 << 20]);
        let program = program(&mut chance);
        let mut table = Desk::new(&house, disk.as_ref(), max_bytes.unwrap_or(200 << 10))?;
        let mut at = 0;
        let kept = program.iter().try_for_each(|step| {
            at += 1;
            carry_out(&mut table, *step)
        });
        if let Err(error) = kept.and_then(|()| table.end()) {
            let violation = format!(
                "seed {}, step {at} of {program:?}: {error:#}",
                seed.wrapping_add(round as u64)
            );
            told(&violation);
            outcome.violations.push(violation);
        }
        outcome.rounds += 1;
        for (verb, count) in &table.done {
            *outcome.verbs.entry(verb).or_insert(0) += count;
        }
        if outcome.rounds.is_multiple_of(100) {
            told(&outcome.summary());
        }
    }
    Ok(outcome)
}

/// Some verbs, with at least one segment that is closed and one kill of the shipper over it.
fn program(chance: &mut fastrand::Rng) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..chance.usize(1..5)).map(|_| step(chance)).collect();
    steps.extend([Step::Write(chance.u64(20..500)), Step::Rotate]);
    steps.push(Step::Ship(moment(chance, 60_000), true));
    steps.extend((0..chance.usize(1..5)).map(|_| step(chance)));
    steps
}

fn step(chance: &mut fastrand::Rng) -> Step {
    const DAY_MS: i64 = 86_400_000;
    match chance.u32(..100) {
        0..24 => Step::Write(chance.u64(1..700)),
        24..38 => Step::Rotate,
        38..48 => Step::CrashWriter(moment(chance, 8_000), chance.bool()),
        48..62 => Step::Ship(moment(chance, 60_000), chance.u32(..3) > 0),
        62..68 => Step::Sweep,
        68..76 => Step::Fill,
        76..80 => Step::Remount,
        80..86 => Step::Jump(chance.i64(-400..400) * DAY_MS + chance.i64(0..DAY_MS)),
        86..91 => Step::Prune,
        91..97 => Step::Search,
        _ => Step::Backup(moment(chance, 60_000)),
    }
}

fn moment(chance: &mut fastrand::Rng, most_us: u64) -> Duration {
    Duration::from_micros(chance.u64(..most_us))
}

fn carry_out(desk: &mut Desk<'_>, step: Step) -> Result<()> {
    match step {
        Step::Write(count) => desk.write(count)?,
        Step::Rotate => desk.rotate()?,
        Step::CrashWriter(after, torn) => desk.crash_writer(after, torn)?,
        Step::Ship(after, kill) => desk.ship(after, kill),
        // What a full disk refuses now is done later: the end of the program says whether it was.
        Step::Sweep => drop(desk.sweep()),
        Step::Fill => desk.fill()?,
        Step::Remount => desk.remount()?,
        Step::Jump(by_ms) => desk.jump(by_ms),
        Step::Prune => desk.prune()?,
        Step::Search => desk.search()?,
        Step::Backup(after) => desk.backup(after)?,
    }
    desk.check()
}
