//! A year of talk in minutes, all three programs at work: memory and file handles stay flat, the disk within its caps,
//! every question has its answer.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::bot::{follow_up, mention};
use super::{Band, Row, Sample, Table, memory_kib};
use crate::house::{House, Running, walk};
use crate::world::World;

/// What `logs/` may hold; small, so that a soak reaches it.
const LOG_CAP_MB: u64 = 5;
/// People who talk at once.
const PEOPLE: usize = 8;
/// How often memory and handles are looked at.
const LOOKS: usize = 20;
/// Readings of one look: the least of them counts, which is what stays when no backup or sweep is at work.
const READINGS: usize = 10;
/// Between two of them.
const READ_EVERY: Duration = Duration::from_millis(100);

struct Program {
    name: &'static str,
    running: Running,
    resident: Vec<f64>,
    handles: Vec<f64>,
}

impl Program {
    fn look(&mut self) -> Result<()> {
        let (mut resident, mut handles) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..READINGS {
            let pid = self.running.pid();
            let mebibytes = memory_kib(pid, "VmRSS").unwrap_or(f64::NAN) / 1024.0;
            let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
            (resident, handles) = (resident.min(mebibytes), handles.min(open as f64));
            thread::sleep(READ_EVERY);
        }
        self.resident.push(resident);
        self.handles.push(handles);
        Ok(())
    }

    /// The most of the second half less the most of the first one, whose first quarter warms up.
    fn growth(values: &[f64]) -> f64 {
        let most = |part: &[f64]| part.iter().copied().fold(f64::MIN, f64::max);
        let (quarter, half) = (values.len() / 4, values.len() / 2);
        most(&values[half..]) - most(&values[quarter..half])
    }
}

/// Talks `turns` times, with backups every ten seconds and a small cap on the logs.
///
/// # Errors
/// When a program's figures cannot be read.
pub fn measure(turns: usize, table: &mut Table) -> Result<()> {
    let world = World::start();
    let house = House::new(&world);
    let start = |name: &'static str, environment: &[(&str, &str)]| {
        let launch = house.program(name);
        let launch = environment
            .iter()
            .fold(launch, |launch, (name, value)| launch.env(name, *value));
        Program {
            name,
            running: launch.start(),
            resident: Vec::new(),
            handles: Vec::new(),
        }
    };
    let cap = LOG_CAP_MB.to_string();
    let mut programs = [
        start("bot", &[("LOG_MAX_SIZE", "1")]),
        start(
            "backup-sidecar",
            &[("BACKUP_SCHEDULE", "@every 10s"), ("LOG_MAX_SIZE", "1")],
        ),
        start(
            "log-shipper",
            &[("LOG_MAX_TOTAL_SIZE", &cap), ("LOG_SWEEP_SECONDS", "2")],
        ),
    ];
    world.connected();
    let mut most_logs = 0;
    for _ in 0..LOOKS {
        talk(&world, turns / LOOKS);
        for program in &mut programs {
            program.look()?;
        }
        most_logs = most_logs.max(bytes(&house.logs()));
        // Every answer was waited for; the story's end looks for others.
        world.expect_all();
    }
    table.note(format!(
        "{turns} turns by {PEOPLE} people, a backup every 10 s"
    ));
    for program in programs {
        let name = program.name;
        table.add(Row::alone(
            format!("{name}: growth of memory in the second half, MiB"),
            Sample::of([Program::growth(&program.resident)]),
            Band::AtMost(2.0),
        ));
        table.add(Row::alone(
            format!("{name}: growth of open files in the second half"),
            Sample::of([Program::growth(&program.handles)]),
            Band::AtMost(4.0),
        ));
        program.running.stop().expect_code(0);
    }
    table.add(Row::alone(
        format!("logs/ at its largest, MB (cap {LOG_CAP_MB}, and what is being written)"),
        Sample::of([most_logs as f64 / 1e6]),
        Band::AtMost(LOG_CAP_MB as f64 + 3.0),
    ));
    let unsound: String = house
        .look()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(unsound == "ok", "the database is damaged: {unsound}");
    world.finish();
    Ok(())
}

/// Every fifth turn begins a conversation, the others go on with it; each waits for its whole answer.
fn talk(world: &World, turns: usize) {
    let left = AtomicUsize::new(turns);
    thread::scope(|scope| {
        for number in 0..PEOPLE {
            let left = &left;
            scope.spawn(move || {
                let who = world.member(&format!("member-{number}"));
                let take = |left: usize| left.checked_sub(5);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
                {
                    mention(world, who);
                    let thread = world.mention(who, world.general(), "話そう");
                    world.answer(thread, "話そう");
                    for _ in 0..3 {
                        follow_up(world, who, thread);
                    }
                }
            });
        }
    });
}

fn bytes(dir: &std::path::Path) -> u64 {
    let sizes = walk(dir).into_iter();
    sizes
        .filter_map(|path| Some(fs::metadata(path).ok()?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_what_the_second_half_has_more() {
        assert!((Program::growth(&[1.0, 5.0, 5.0, 6.0, 7.0, 7.0, 8.0, 6.5]) - 2.0).abs() < 1e-9);
    }
}
