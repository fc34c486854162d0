//! Logs beside gzip, zstd and ripgrep: with verification before anything is deleted on our side, without on theirs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use super::{Band, Row, Sample, Table, exact_cpu_ms, memory_kib, run, run_launch};
use crate::PATIENCE;
use crate::house::{House, NOBODY};

/// The first line's instant: the beginning of a day in UTC.
const DAY: i64 = 1_795_737_600;

/// A segment's size, as the programs close them.
const SEGMENT_BYTES: usize = 10 << 20;

/// The kernel counts in ticks of 10 ms, about what one bounded search takes: so many are measured together.
const HOURS: u32 = 20;

/// About how many lines fill a segment.
const LINES_OF_SEGMENT: i64 = 41_000;

/// Compressed segments beside which the program idles.
const BESIDE: usize = 10_000;

/// What Python's `RotatingFileHandler`, 10 MB × 5, keeps: 60 MB of plain lines.
const PEER_KEEPS_BYTES: f64 = 60e6;

/// Measures the log shipper on `mebibytes` of lines, in `rounds` interleaved rounds.
///
/// # Errors
/// When a program fails.
pub fn measure(mebibytes: usize, rounds: usize, table: &mut Table) -> Result<()> {
    let house = House::alone();
    let segments = (mebibytes << 20).div_ceil(SEGMENT_BYTES);
    let originals = house.path("originals");
    fs::create_dir(&originals)?;
    let lines = generate(&originals, segments)?;
    table.note(format!(
        "{segments} segments of 10 MiB, {lines} lines over one day, of the kinds and in the proportions that a busy bot writes"
    ));
    let bench = Bench {
        house,
        originals,
        lines,
    };
    bench.compress(rounds, table)?;
    bench.search(rounds, table)?;
    bench.closed_to_durable(rounds, table)?;
    bench.idle(table)
}

struct Bench {
    house: House,
    originals: PathBuf,
    lines: u64,
}

impl Bench {
    fn fresh_logs(&self) -> Result<()> {
        fs::remove_dir_all(self.house.logs())?;
        fs::create_dir(self.house.logs())?;
        for entry in fs::read_dir(&self.originals)? {
            let entry = entry?;
            fs::copy(entry.path(), self.house.logs().join(entry.file_name()))?;
        }
        give(&self.house.logs())
    }

    fn shipper(&self) -> crate::house::Launch {
        self.house
            .program("log-shipper")
            .env("LOG_RETENTION_DAYS", "3650")
            .env("LOG_MAX_TOTAL_SIZE", "100000")
    }

    fn compress(&self, rounds: usize, table: &mut Table) -> Result<()> {
        let (mut ours, mut gzip, mut zstd) =
            (Sample::default(), Sample::default(), Sample::default());
        let mut logrotate = Sample::default();
        let place = self.house.path("peer").display().to_string();
        let has_logrotate = run("command -v logrotate").is_ok();
        for _ in 0..rounds {
            self.fresh_logs()?;
            ours.add(run_launch(self.shipper().args(["sweep"]))?.cpu_secs);
            gzip.add(self.peer(&place, "gzip -6")?);
            zstd.add(self.peer(&place, "zstd -q -3")?);
            if has_logrotate {
                logrotate.add(self.logrotate(&place)?);
            }
        }
        let our_bytes = total_bytes(&self.house.logs(), ".zst")?;
        self.peer(&place, "gzip -6")?;
        let their_bytes = total_bytes(Path::new(&place), ".out")?;
        let what = "compress + sync + verify, CPU s";
        table.add(Row::beside(
            what,
            ours.clone(),
            "gzip -6",
            gzip,
            Band::RatioAtMost(0.22),
        ));
        if has_logrotate {
            let (ours, peer) = (ours.clone(), "logrotate + zstd -3");
            table.add(Row::beside(what, ours, peer, logrotate, Band::Shown));
        } else {
            table.note("logrotate is not installed, so it is not in the table");
        }
        table.add(Row::beside(what, ours, "zstd -3", zstd, Band::Shown));
        table.add(Row::beside(
            "bytes of all segments, MiB (the same in every run)",
            Sample::of([our_bytes / 1_048_576.0; 3]),
            "gzip -6",
            Sample::of([their_bytes / 1_048_576.0; 3]),
            Band::RatioAtMost(0.86),
        ));
        let plain = total_bytes(&self.originals, ".log")?;
        let mean_line = plain / self.lines as f64;
        let kept = PEER_KEEPS_BYTES / (our_bytes / self.lines as f64);
        table.add(Row::beside(
            "lines kept in 60 MB, thousands (computed from the bytes)",
            Sample::of([kept / 1e3; 3]),
            "10 MB × 5, plain",
            Sample::of([PEER_KEEPS_BYTES / mean_line / 1e3; 3]),
            Band::RatioAtLeast(6.0),
        ));
        Ok(())
    }

    fn peer(&self, place: &str, compressor: &str) -> Result<f64> {
        let from = self.originals.display();
        let shell = format!(
            "rm -rf {place}; mkdir {place}; for f in {from}/*.log; do {compressor} -c $f > {place}/$(basename $f).out || exit 1; done"
        );
        Ok(run(&shell)?.cpu_secs)
    }

    /// Rotates and compresses as a system does it: without a sync, and without looking at what came of it.
    fn logrotate(&self, place: &str) -> Result<f64> {
        let from = self.originals.display();
        run(&format!(
            "rm -rf {place}; mkdir {place}; cp {from}/*.log {place}"
        ))?;
        let rules = "rotate 9\ncompress\nnocreate\ncompresscmd /usr/bin/zstd\ncompressoptions -q -3\ncompressext .zst";
        let settings = self.house.path("tmp/logrotate.conf");
        // It ignores settings that belong to the user whom the house was given to in between.
        fs::remove_file(&settings).ok();
        fs::write(&settings, format!("\"{place}/*.log\" {{\n{rules}\n}}\n"))?;
        let state = self.house.path("tmp/logrotate.state").display().to_string();
        let said = self.house.path("tmp/logrotate.said").display().to_string();
        let settings = settings.display();
        let cost = run(&format!("logrotate -v -f -s {state} {settings} 2> {said}"))?;
        let (wanted, made) = (entries(&self.originals)?.len(), entries(Path::new(place))?);
        let made = made
            .iter()
            .filter(|path| path.extension().is_some_and(|ending| ending == "zst"));
        anyhow::ensure!(
            made.count() == wanted,
            "logrotate left files uncompressed: {}",
            fs::read_to_string(said)?
        );
        Ok(cost.cpu_secs)
    }

    fn search(&self, rounds: usize, table: &mut Table) -> Result<()> {
        let logs = self.house.logs().display().to_string();
        let has_rg = run("command -v rg && command -v zstd").is_ok();
        let at = |hour: i64| {
            Timestamp::from_second(DAY + hour * 3_600).map(|instant| instant.to_string())
        };
        let (from, to) = (at(12)?, at(13)?);
        let (mut full, mut hour, mut rg) =
            (Sample::default(), Sample::default(), Sample::default());
        for _ in 0..rounds {
            full.add(run_launch(self.shipper().args(["search", "-c", "canary-needle"]))?.cpu_secs);
            let bounded = [
                "search",
                "-c",
                "canary-needle",
                "--since",
                &from,
                "--until",
                &to,
            ];
            let mut spent = 0.0;
            for _ in 0..HOURS {
                spent += run_launch(self.shipper().args(bounded))?.cpu_secs;
            }
            hour.add(spent / f64::from(HOURS));
            if has_rg {
                rg.add(
                    run(&format!(
                        "rg -z -c -F canary-needle {logs}/*.zst > /dev/null"
                    ))?
                    .cpu_secs,
                );
            }
        }
        if has_rg {
            table.add(Row::beside(
                "search of everything, CPU s",
                full.clone(),
                "rg -z",
                rg,
                Band::RatioAtMost(0.7),
            ));
        } else {
            table.note("ripgrep is not installed, so it is not in the table");
        }
        table.add(Row::beside(
            "search of everything against one hour of the day, CPU s",
            full,
            "one hour",
            hour,
            Band::RatioAtLeast(10.0),
        ));
        Ok(())
    }

    /// From the rename that closes a segment until only its verified, compressed form is there.
    fn closed_to_durable(&self, rounds: usize, table: &mut Table) -> Result<()> {
        fs::remove_dir_all(self.house.logs())?;
        fs::create_dir(self.house.logs())?;
        give(&self.house.logs())?;
        let mut shipper = self.shipper().start();
        shipper.wait_event("start");
        let mut waited = Sample::default();
        let names: Vec<PathBuf> = entries(&self.originals)?;
        for original in names.iter().take(rounds.max(3)) {
            let Some(name) = original.file_name() else {
                continue;
            };
            let closed = self.house.logs().join(name);
            let written = self.house.logs().join("bot.log");
            fs::copy(original, &written)?;
            own(&written)?;
            let mut done = closed.clone().into_os_string();
            done.push(".zst");
            let begun = Instant::now();
            fs::hard_link(&written, &closed)?;
            fs::remove_file(&written)?;
            while closed.exists() || !Path::new(&done).exists() {
                anyhow::ensure!(
                    begun.elapsed() < PATIENCE,
                    "the segment was never compressed"
                );
                thread::sleep(Duration::from_millis(1));
            }
            waited.add(begun.elapsed().as_secs_f64());
        }
        shipper.stop();
        table.add(Row::alone(
            "closed → durable and verified, s",
            waited,
            Band::AtMost(0.3),
        ));
        Ok(())
    }

    /// Minutes beside 10,000 compressed segments: quiet ones, and ones in which a line is written every ten seconds.
    fn idle(&self, table: &mut Table) -> Result<()> {
        archived(&self.house, BESIDE)?;
        let mut shipper = self.shipper().start();
        shipper.wait_event("start");
        // The first sweep and the first page list and read everything; their cost is not idleness.
        thread::sleep(Duration::from_secs(130));
        let minute = |busy: bool| -> Result<f64> {
            let before = exact_cpu_ms(shipper.pid());
            for number in 0..6 {
                if busy {
                    let line = format!(
                        "{{\"ts\":\"{}\",\"level\":\"INFO\",\"service\":\"bot\",\"seq\":{number},\"start\":\"5f3a9c01\",\"event\":\"turn.answered\",\"ms\":900}}\n",
                        Timestamp::now()
                    );
                    let active = self.house.logs().join("bot.log");
                    let mut file = fs::File::options()
                        .create(true)
                        .append(true)
                        .open(&active)?;
                    std::io::Write::write_all(&mut file, line.as_bytes())?;
                    own(&active)?;
                }
                thread::sleep(Duration::from_secs(10));
            }
            Ok(exact_cpu_ms(shipper.pid()) - before)
        };
        let (mut quiet, mut busy) = (Sample::default(), Sample::default());
        for _ in 0..3 {
            quiet.add(minute(false)?);
        }
        for _ in 0..3 {
            busy.add(minute(true)?);
        }
        let memory = memory_kib(shipper.pid(), "RssAnon").unwrap_or(f64::NAN) / 1024.0;
        shipper.stop();
        table.add(Row::alone(
            "idle beside 10,000 segments, CPU ms a minute",
            quiet,
            Band::AtMost(3.0),
        ));
        table.add(Row::alone(
            "a line every 10 s and a new page every minute beside 10,000 segments, CPU ms a minute",
            busy,
            Band::Shown,
        ));
        table.add(Row::alone(
            "log shipper, anonymous memory, MiB",
            Sample::of([memory]),
            Band::AtMost(6.0),
        ));
        Ok(())
    }
}

fn generate(dir: &Path, segments: usize) -> Result<u64> {
    let mut chance = fastrand::Rng::with_seed(3);
    let mut lines = 0;
    let step_ms = 86_400_000 / (segments as i64 * LINES_OF_SEGMENT).max(1);
    let mut millis = DAY * 1_000;
    for _ in 0..segments {
        let mut text = String::with_capacity(SEGMENT_BYTES + 1024);
        while text.len() < SEGMENT_BYTES {
            line(&mut text, lines, millis, &mut chance)?;
            lines += 1;
            // People do not write in step.
            millis += chance.i64(0..=2 * step_ms);
        }
        // A segment is named by the instant it was closed: after its last line.
        fs::write(dir.join(name(millis)), text)?;
    }
    Ok(lines)
}

/// One line, as the bot writes it (`docs/events.md`): most belong to a turn, which is accepted and then answered under
/// the same id; ids are Discord's, whose upper bits are the time.
fn line(text: &mut String, seq: u64, millis: i64, chance: &mut fastrand::Rng) -> Result<()> {
    const WAYS: [&str; 4] = ["Mention", "FollowUp", "FollowUp", "Direct"];
    let (turn, way) = (turn(seq / 2, millis), WAYS[chance.usize(..4)]);
    let (level, target, event, msg, fields) = match chance.u32(..100) {
        0..43 => (
            "INFO",
            "bot::intake::post",
            "message.accepted",
            "accepted",
            format!("\"turn\":{turn},\"way\":\"{way}\""),
        ),
        43..86 => (
            "INFO",
            "bot::turn::outcome",
            "turn.answered",
            "answered",
            format!("\"turn\":{turn},\"way\":\"{way}\",{}", spent(chance)),
        ),
        86..92 => (
            "INFO",
            "bot::discord::rest",
            "rest.rate_limited",
            "Discord asked to wait",
            format!(
                "\"pause_ms\":{},\"is_global\":false",
                chance.u32(200..3_000)
            ),
        ),
        92..95 => (
            "WARN",
            "bot::llm::chain",
            "model.failed",
            "the next model of the chain is asked",
            "\"model\":\"openai/gpt-5-mini\",\"error\":\"the model is overloaded (529)\""
                .to_owned(),
        ),
        95..99 => (
            "WARN",
            "bot::turn::outcome",
            "turn.failed",
            "the member has a kind note",
            format!("\"turn\":{turn},\"why\":\"言葉が見つかりませんでした\""),
        ),
        _ => (
            "INFO",
            "daemon_kit::boot::attendant",
            "alive",
            "still here",
            format!("\"note\":\"canary-needle\",\"uptime_secs\":{}", seq / 3),
        ),
    };
    let ts = Timestamp::from_millisecond(millis)?;
    writeln!(
        text,
        "{{\"ts\":\"{ts:.3}\",\"level\":\"{level}\",\"service\":\"bot\",\"seq\":{seq},\"start\":\"5f3a9c01\",\"target\":\"{target}\",\"event\":\"{event}\",\"msg\":\"{msg}\",{fields}}}"
    )?;
    Ok(())
}

/// Discord's id of a message: the milliseconds since 2015, and 22 bits that nobody can guess.
fn turn(number: u64, millis: i64) -> u64 {
    const DISCORD_EPOCH_MS: i64 = 1_420_070_400_000;
    const A_MOMENT_MS: i64 = 5_000;
    let mut own = fastrand::Rng::with_seed(number);
    let moment = (millis / A_MOMENT_MS * A_MOMENT_MS - DISCORD_EPOCH_MS) as u64;
    ((moment + own.u64(..A_MOMENT_MS as u64)) << 22) + own.u64(..1 << 22)
}

fn spent(chance: &mut fastrand::Rng) -> String {
    let (ms, input, output) = (
        chance.u32(700..6_000),
        chance.u32(150..6_000),
        chance.u32(20..700),
    );
    let cost = f64::from(input) * 1e-6 + f64::from(output) * 5e-6;
    format!(
        "\"ms\":{ms},\"model\":\"anthropic/claude-haiku-4-5\",\"input_tokens\":{input},\"output_tokens\":{output},\"cost_usd\":{cost:.6},\"parts\":1"
    )
}

/// A `logs/` that holds `count` small compressed segments and nothing else.
pub(super) fn archived(house: &House, count: usize) -> Result<()> {
    fs::remove_dir_all(house.logs())?;
    fs::create_dir(house.logs())?;
    let small = zstd::encode_all(&b"{}\n"[..], 1)?;
    for number in 0..count as i64 {
        let closed = name(DAY * 1_000 + number);
        fs::write(house.logs().join(format!("{closed}.zst")), &small)?;
    }
    give(&house.logs())
}

fn name(closed_ms: i64) -> String {
    let instant = Timestamp::from_millisecond(closed_ms).unwrap_or_default();
    format!("bot.{}.log", instant.strftime("%Y%m%dT%H%M%S.%3fZ"))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn total_bytes(dir: &Path, ending: &str) -> Result<f64> {
    let paths = entries(dir)?;
    let ours = paths
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(ending));
    let sizes = ours.map(|path| Ok(fs::metadata(path)?.len() as f64));
    sizes.sum::<Result<f64>>()
}

fn own(path: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

fn give(dir: &Path) -> Result<()> {
    own(dir)?;
    entries(dir)?.iter().try_for_each(|path| own(path))
}
