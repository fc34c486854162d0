//! How cost grows: with conversations, with the length of one, with the database, with the number of log segments.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use super::bot::{follow_up, mention};
use super::{Band, Row, Sample, Table, backup, exact_cpu_ms, logs, run_launch};
use crate::house::{House, Running};
use crate::world::{Id, World};

/// Turns in one batch; a figure is the mean of a batch, a row has three of them.
const BATCH: usize = 100;
/// Sweeps in one figure: the kernel counts what a program took in steps of 10 ms, which is more than one takes.
const SWEEPS: usize = 20;
/// What grows may cost this much more per piece at its largest than at its smallest.
const FLAT: Band = Band::RatioAtMost(1.5);

/// Measures all four.
///
/// # Errors
/// When a program fails.
pub fn measure(quick: bool, table: &mut Table) -> Result<()> {
    let counts: &[usize] = if quick {
        &[1, 100, 1_000]
    } else {
        &[1, 100, 1_000, 10_000]
    };
    conversations(counts, table);
    one_conversation(counts, table);
    let sizes: &[u64] = if quick {
        &[10, 64]
    } else {
        &[10, 256, 1_024, 4_096]
    };
    databases(sizes, table)?;
    let segments: &[usize] = if quick {
        &[1, 1_000]
    } else {
        &[1, 1_000, 10_000, 100_000]
    };
    sweeps(segments, table)
}

/// The first figure alone, each further one beside it.
fn add(figures: &[(String, Sample)], band: Band, table: &mut Table) {
    let Some(((first, smallest), larger)) = figures.split_first() else {
        return;
    };
    table.add(Row::alone(first, smallest.clone(), Band::Shown));
    for (what, sample) in larger {
        table.add(Row::beside(
            what,
            sample.clone(),
            first,
            smallest.clone(),
            band,
        ));
    }
}

fn batches(bot: &Running, mut turn: impl FnMut()) -> Sample {
    Sample::of((0..3).map(|_| {
        let before = exact_cpu_ms(bot.pid());
        (0..BATCH).for_each(|_| turn());
        (exact_cpu_ms(bot.pid()) - before) / BATCH as f64
    }))
}

/// Conversations that only fill the store: eight people at once.
fn fill_up(world: &World, count: usize) {
    let left = AtomicUsize::new(count);
    thread::scope(|scope| {
        for number in 0..8 {
            let left = &left;
            scope.spawn(move || {
                let who = world.member(&format!("filler-{number}"));
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
}

fn conversations(counts: &[usize], table: &mut Table) {
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let bot = house.bot(&world);
    let mut had = 0;
    let mut figures = Vec::new();
    for count in counts {
        fill_up(&world, count.saturating_sub(had));
        had = *count + 3 * BATCH;
        figures.push((
            format!("a mention beside {count} conversations, CPU ms"),
            batches(&bot, || {
                mention(&world, who);
            }),
        ));
    }
    bot.stop();
    world.expect_all();
    world.finish();
    add(&figures, FLAT, table);
}

fn one_conversation(counts: &[usize], table: &mut Table) {
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let bot = house.bot(&world);
    let thread: Id = world.mention(who, world.general(), "話そう");
    world.answer(thread, "話そう");
    let mut had = 0;
    let mut figures = Vec::new();
    for count in counts {
        for _ in had..*count {
            follow_up(&world, who, thread);
        }
        had = *count + 3 * BATCH;
        figures.push((
            format!("a follow-up after {count} others, CPU ms"),
            batches(&bot, || {
                follow_up(&world, who, thread);
            }),
        ));
    }
    bot.stop();
    world.expect_all();
    world.finish();
    // A short conversation has a shorter prompt; from the hundredth message on it is as long as it may be.
    let from = figures.len().min(1);
    table.add(Row::alone(&figures[0].0, figures[0].1.clone(), Band::Shown));
    add(&figures[from..], FLAT, table);
}

fn databases(sizes: &[u64], table: &mut Table) -> Result<()> {
    let (mut cpu, mut peak) = (Vec::new(), Vec::new());
    for mebibytes in sizes {
        let bench = backup::Bench::with(*mebibytes)?;
        let costs = (0..3).map(|_| bench.ours()).collect::<Result<Vec<_>>>()?;
        let each = costs
            .iter()
            .map(|cost| cost.cpu_secs * 1e3 / *mebibytes as f64);
        cpu.push((
            format!("backup of {mebibytes} MiB, CPU ms a MiB"),
            Sample::of(each),
        ));
        peak.push((
            format!("backup of {mebibytes} MiB, peak memory, MiB"),
            Sample::of(costs.iter().map(|cost| cost.peak_mib)),
        ));
    }
    add(&cpu, FLAT, table);
    for (what, sample) in peak {
        table.add(Row::alone(what, sample, Band::AtMost(64.0)));
    }
    Ok(())
}

fn sweeps(counts: &[usize], table: &mut Table) -> Result<()> {
    let mut figures = Vec::new();
    for count in counts {
        let house = House::alone();
        logs::archived(&house, *count)?;
        let mut sample = Sample::default();
        for _ in 0..3 {
            let mut spent_ms = 0.0;
            for _ in 0..SWEEPS {
                let sweep = house
                    .program("log-shipper")
                    .env("LOG_RETENTION_DAYS", "36500")
                    .env("LOG_MAX_TOTAL_SIZE", "100000")
                    .args(["sweep"]);
                spent_ms += run_launch(sweep)?.cpu_secs * 1e3;
            }
            sample.add(spent_ms / SWEEPS as f64);
        }
        figures.push((
            format!("a sweep with nothing to do beside {count} segments, CPU ms"),
            sample,
        ));
        fs::remove_dir_all(house.logs())?;
    }
    add(&figures, Band::Shown, table);
    Ok(())
}
