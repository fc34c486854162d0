//! What a process costs: time, processor time, memory.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::house::Launch;

/// The kernel counts processor time in ticks of this length (`USER_HZ` is 100 on every Linux).
const TICK_MS: f64 = 10.0;

/// How often a running process is asked for its memory.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What one run of a command cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall_secs: f64,
    /// Processor seconds, of all its processes.
    pub cpu_secs: f64,
    /// The most memory that one of its processes had resident, in MiB.
    pub peak_mib: f64,
}

/// Runs a shell command to its end.
///
/// # Errors
/// When it fails.
pub fn run(shell: &str) -> Result<Cost> {
    let mut child = Command::new("sh");
    child
        .args(["-c", shell])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let (before, begun) = (descendants_cpu_ms(), Instant::now());
    let mut child = child
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| shell.to_owned())?;
    let mut peak_mib = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak_mib = largest_mib(child.id()).max(peak_mib);
        thread::sleep(LOOK_EVERY);
    };
    let wall_secs = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{shell}: {status}");
    Ok(Cost {
        wall_secs,
        cpu_secs: (descendants_cpu_ms() - before) / 1e3,
        peak_mib,
    })
}

/// Runs one of our programs to its end.
///
/// # Errors
/// When it ends with another code than 0.
pub fn run_launch(launch: Launch) -> Result<Cost> {
    let (before, begun) = (descendants_cpu_ms(), Instant::now());
    let mut running = launch.start();
    let mut peak_mib = 0.0;
    while running.alive() {
        peak_mib = largest_mib(running.pid()).max(peak_mib);
        thread::sleep(LOOK_EVERY);
    }
    let wall_secs = begun.elapsed().as_secs_f64();
    let finished = running.ended();
    ensure!(
        finished.code == Some(0),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    Ok(Cost {
        wall_secs,
        cpu_secs: (descendants_cpu_ms() - before) / 1e3,
        peak_mib,
    })
}

/// The most memory that a process or one of its descendants has had so far.
fn largest_mib(pid: u32) -> f64 {
    let own = memory_kib(pid, "VmHWM").map_or(0.0, |kib| kib / 1024.0);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.map(largest_mib).fold(own, f64::max)
}

/// Processor milliseconds of all children that have ended, with theirs.
#[must_use]
pub fn descendants_cpu_ms() -> f64 {
    ticks("/proc/self/stat", [15, 16])
}

/// Processor milliseconds that a living process has used so far.
#[must_use]
pub fn cpu_ms(pid: u32) -> f64 {
    ticks(&format!("/proc/{pid}/stat"), [13, 14])
}

/// The same to the nanosecond, of threads that still live; where the kernel does not say, in ticks.
#[must_use]
pub fn exact_cpu_ms(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let nanos: Option<Vec<f64>> = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        })
        .collect();
    match nanos {
        Some(nanos) if !nanos.is_empty() => nanos.iter().sum::<f64>() / 1e6,
        _ => cpu_ms(pid),
    }
}

fn ticks(path: &str, fields: [usize; 2]) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces.
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let rest: Vec<&str> = after_name.split_whitespace().collect();
    let field = |number: usize| {
        rest.get(number - 2)
            .and_then(|text| text.parse::<f64>().ok())
    };
    fields
        .iter()
        .filter_map(|number| field(*number))
        .sum::<f64>()
        * TICK_MS
}

/// A figure of `/proc/<pid>/status` in KiB, such as `VmHWM` or `RssAnon`.
#[must_use]
pub fn memory_kib(pid: u32, name: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_processor_time_and_a_failure_is_told() {
        let cost = run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").unwrap();
        assert!(cost.cpu_secs > 0.0 && cost.wall_secs > 0.0, "{cost:?}");
        assert!(run("exit 3").is_err());
    }

    #[test]
    fn a_living_process_has_memory() {
        let me = std::process::id();
        assert!(memory_kib(me, "VmRSS").unwrap() > 100.0);
        assert!(memory_kib(me, "VmNothing").is_none());
    }
}
