//! The three containers as an owner has them: release programs, the compose file and the pace of a NAS, a real engine.
//! Sizes and memory as engine and kernel count them, processor time with and without the engine's own looks at the health.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use release::image::SERVICES;
use release::nas::Nas;

use super::bot::mention;
use super::{Band, Row, Sample, Table, exact_cpu_ms, memory_kib};
use crate::World;
use crate::engine::{Engine, until};
use crate::stack::{Images, Stack, give, owner, released_programs};
use crate::world::{Id, TOKEN};

/// Until nothing of the start is being done any more.
const SETTLE: Duration = Duration::from_secs(30);
/// How long nobody talks while idling is measured; the engine looks twice at the health of each.
const MINUTE: Duration = Duration::from_secs(60);

/// Measures images and containers: idle, and after `mentions`, a backup, and a segment that was compressed.
///
/// # Errors
/// When the engine or the kernel cannot tell what a container costs, or one of them is not well in the end.
pub fn measure(mentions: usize, table: &mut Table) -> Result<()> {
    let Some((engine, gateway)) = Engine::here() else {
        table.note("not measured: no docker engine on this machine");
        return Ok(());
    };
    let version = engine.must(&["version", "--format", "{{.Server.Version}}"]);
    table.note(format!("docker engine {}", version.trim()));
    let version = format!("bench-{}", std::process::id());
    let images = Images::of(&engine, &released_programs(), &version);
    sizes(&engine, &images, table)?;
    let world = World::start_on(&format!("{gateway}:0"));
    let url = world.url();
    // Mentions come faster than people's; everything else is as it is shipped.
    let settings = format!(
        "DISCORD_TOKEN={TOKEN}\nDISCORD_API_URL={url}\nANTHROPIC_API_KEY=bench\nANTHROPIC_BASE_URL={url}/anthropic\n\
         RATE_LIMIT_CAPACITY=100000\nRATE_LIMIT_REFILL=1000\nUSER_RATE_LIMIT=10000"
    );
    let stack = Stack::as_shipped(Arc::new(images), Nas::Synology, owner(), &settings);
    stack.up(&[]);
    for service in SERVICES {
        stack.healthy(service);
    }
    let who = world.member("はな");
    mention(&world, who);
    thread::sleep(SETTLE);
    idle(&stack, table)?;
    busy(&stack, &world, (who, mentions), table)?;
    for service in SERVICES {
        stack.healthy(service);
        let restarts = stack.inspect(service, "{{.RestartCount}}");
        ensure!(restarts == "0", "{service} came back {restarts} times");
    }
    table.note("in the end each container is healthy, and none had to be started again");
    drop(stack);
    world.expect_all();
    world.finish();
    Ok(())
}

fn sizes(engine: &Engine, images: &Images, table: &mut Table) -> Result<()> {
    let mut whole = 0.0;
    for service in SERVICES {
        let name = images.reference(service);
        let bytes = engine.must(&["image", "inspect", "--format", "{{.Size}}", &name]);
        let size = bytes.trim().parse::<f64>()? / 1e6;
        whole += size;
        table.add(Row::alone(
            format!("image of {service}, MB"),
            Sample::of([size]),
            Band::Shown,
        ));
    }
    table.add(Row::alone(
        "three images, uncompressed, MB",
        Sample::of([whole]),
        Band::AtMost(30.0),
    ));
    Ok(())
}

/// The program in a service's container.
struct Resident<'a> {
    stack: &'a Stack,
    service: &'static str,
    pid: u32,
}

impl<'a> Resident<'a> {
    fn of(stack: &'a Stack, service: &'static str) -> Result<Self> {
        // The engine's init comes first; the program is its child.
        let first = stack.inspect(service, "{{.State.Pid}}");
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        let pid = children.split_whitespace().next();
        Ok(Self {
            stack,
            service,
            pid: pid.context("a container without a program")?.parse()?,
        })
    }

    fn all(stack: &'a Stack) -> Result<Vec<Self>> {
        SERVICES
            .into_iter()
            .map(|service| Self::of(stack, service))
            .collect()
    }

    fn mib(&self, name: &str) -> f64 {
        memory_kib(self.pid, name).unwrap_or(f64::NAN) / 1024.0
    }

    /// What an owner sees.
    fn shown_mib(&self) -> Result<f64> {
        let format = ["stats", "--no-stream", "--format", "{{.MemUsage}}"];
        let name = self.stack.container(self.service);
        let said = self.stack.engine.must(&[&format[..], &[&name]].concat());
        mebibytes(&said).with_context(|| format!("docker stats says {said:?}"))
    }

    /// Processor milliseconds of all that ever ran in the container: the program, and the engine's looks at its health.
    fn whole_cpu_ms(&self) -> Result<f64> {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))?;
        // `7:cpu,cpuacct:/docker/…` in the first version of control groups, `0::/system.slice/…` in the second.
        let path = |controller: &str| {
            groups.lines().find_map(|line| {
                let (names, path) = line.split_once(':')?.1.split_once(':')?;
                names
                    .split(',')
                    .any(|name| name == controller)
                    .then_some(path)
            })
        };
        if let Some(path) = path("cpuacct") {
            let nanos = fs::read_to_string(format!("/sys/fs/cgroup/cpuacct{path}/cpuacct.usage"))?;
            return Ok(nanos.trim().parse::<f64>()? / 1e6);
        }
        let path = path("").context("a process without a control group")?;
        let facts = fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.stat"))?;
        let micros = facts
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Ok(micros.context("no usage_usec")?.parse::<f64>()? / 1e3)
    }

    fn is_bot(&self) -> bool {
        self.service == "bot"
    }
}

/// `2.5MiB / 192MiB`: the first of the two.
fn mebibytes(said: &str) -> Option<f64> {
    let first = said.split_whitespace().next()?;
    let number = first.trim_end_matches(char::is_alphabetic);
    let unit = match &first[number.len()..] {
        "B" => 1.0 / 1024.0 / 1024.0,
        "KiB" => 1.0 / 1024.0,
        "MiB" => 1.0,
        "GiB" => 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

fn idle(stack: &Stack, table: &mut Table) -> Result<()> {
    let residents = Resident::all(stack)?;
    let mut before = Vec::new();
    for resident in &residents {
        before.push((exact_cpu_ms(resident.pid), resident.whole_cpu_ms()?));
    }
    thread::sleep(MINUTE);
    let mut after = Vec::new();
    for resident in &residents {
        after.push((exact_cpu_ms(resident.pid), resident.whole_cpu_ms()?));
    }
    for (resident, (before, after)) in residents.iter().zip(before.into_iter().zip(after)) {
        let name = resident.service;
        let mut add = |what: &str, figure: f64, band| {
            let what = format!("{name} idle: {what}");
            table.add(Row::alone(what, Sample::of([figure]), band));
        };
        add(
            "memory that `docker stats` shows, MiB",
            resident.shown_mib()?,
            Band::Shown,
        );
        let (least, most) = if resident.is_bot() {
            (Band::Shown, Band::AtMost(20.0))
        } else {
            (Band::AtMost(6.0), Band::Shown)
        };
        add("resident, MiB", resident.mib("VmRSS"), most);
        add("anonymous of that, MiB", resident.mib("RssAnon"), least);
        let band = if resident.is_bot() {
            Band::Shown
        } else {
            Band::AtMost(20.0)
        };
        add("CPU a minute, ms", after.0 - before.0, band);
        add(
            "CPU a minute with the engine's two looks at its health, ms",
            after.1 - before.1,
            Band::Shown,
        );
    }
    Ok(())
}

/// Talk, a backup as an owner asks for one, and a segment that closes because the bot is restarted.
fn busy(
    stack: &Stack,
    world: &World,
    (who, mentions): (Id, usize),
    table: &mut Table,
) -> Result<()> {
    let residents = Resident::all(stack)?;
    let before = exact_cpu_ms(residents[0].pid);
    for _ in 0..mentions {
        mention(world, who);
    }
    let each = (exact_cpu_ms(residents[0].pid) - before) / mentions as f64;
    table.add(Row::alone(
        "bot: CPU of a mention, ms",
        Sample::of([each]),
        Band::Shown,
    ));
    let mut add = |resident: &Resident<'_>, after: &str| -> Result<()> {
        for (what, figure) in [
            ("memory that `docker stats` shows", resident.shown_mib()?),
            ("the most that was ever resident", resident.mib("VmHWM")),
        ] {
            let what = format!("{} after {after}: {what}, MiB", resident.service);
            table.add(Row::alone(what, Sample::of([figure]), Band::Shown));
        }
        Ok(())
    };
    add(&residents[0], &format!("{mentions} mentions"))?;
    let wish = stack.path("backups/backup-now");
    fs::create_dir(&wish)?;
    give(&wish, owner());
    until("a backup on request", || {
        let names = stack.names("backups");
        names
            .iter()
            .any(|name| name.starts_with("done-backup-now"))
            .then_some(())
    });
    add(&residents[1], "a backup")?;
    stack
        .engine
        .must(&["restart", "--time", "30", &stack.container("bot")]);
    until("a compressed segment", || {
        let names = stack.names("logs");
        names
            .iter()
            .any(|name| name.starts_with("bot.") && name.ends_with(".log.zst"))
            .then_some(())
    });
    add(&residents[2], "a segment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_stats_says_is_read() {
        let read = |said| mebibytes(said).map(|mib| (mib * 1024.0).round());
        assert_eq!(read("2.5MiB / 192MiB\n"), Some(2560.0));
        assert_eq!(read("812KiB / 192MiB"), Some(812.0));
        assert_eq!(read("1.5GiB / 2GiB"), Some(1_572_864.0));
        assert_eq!(read("0B / 0B"), Some(0.0));
        assert_eq!(read("--"), None);
    }
}
