//! A writer of numbered lines: a process of its own, so that it can be killed, with the very writer that all three
//! programs use. It is told on standard input what to do and answers on standard output; the other end is [`Scribe`].

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use daemon_kit::segments::{Limits, SegmentWriter};
use jiff::Timestamp;

use crate::PATIENCE;
use crate::house::{NOBODY, binary};

/// The service whose log it writes.
pub const SERVICE: &str = "tester";

/// Half a line, as a crash leaves it at the end of an active file.
pub const TORN: &str = "{\"ts\":\"torn";

/// Segments are closed by size or when it is told to, never by age.
const NEVER: Duration = Duration::from_secs(1 << 40);

/// How a scribe begins: where, with which number, at which size segments are closed, and how wrong its clock is.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// `logs/`
    pub dir: &'a Path,
    /// The number of its first line.
    pub first: u64,
    /// Bytes at which a segment is closed.
    pub max_bytes: u64,
    /// Milliseconds that its clock is ahead.
    pub ahead_ms: i64,
}

/// A scribe at work; killed when dropped.
pub struct Scribe {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Scribe {
    /// Starts one, under other words (`strace …`) if any. `None` when it cannot write there.
    ///
    /// # Errors
    /// When it does not start, or says nothing.
    pub fn start(beginning: Beginning<'_>, under: &[&str]) -> Result<Option<Scribe>> {
        let program = binary("chaos");
        let mut command = match under.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.arg("scribe").arg(beginning.dir).args([
            beginning.first.to_string(),
            beginning.max_bytes.to_string(),
            beginning.ahead_ms.to_string(),
        ]);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("starting a scribe")?;
        let out = child.stdout.take().context("its answers")?;
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let orders = child.stdin.take();
        let mut scribe = Scribe {
            child,
            orders,
            answers,
        };
        let is_ready = scribe.answer()?.is_some_and(|said| said == "ready");
        Ok(is_ready.then_some(scribe))
    }

    /// Lets it write so many lines; the numbers that the disk refused. `None` when it died of it.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn write(&mut self, count: u64) -> Result<Option<Vec<u64>>> {
        self.order(&format!("write {count}"));
        let Some(said) = self.answer()? else {
            return Ok(None);
        };
        let refused = said.strip_prefix("wrote").context("not what was asked")?;
        refused
            .split_whitespace()
            .map(|number| Ok(number.parse()?))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Gives an order and waits for nothing: it is about to be killed in the middle of it.
    pub fn order(&mut self, what: &str) {
        if let Some(orders) = &mut self.orders {
            // A scribe that is gone takes no orders; its end is noticed elsewhere.
            writeln!(orders, "{what}")
                .and_then(|()| orders.flush())
                .ok();
        }
    }

    /// Its next answer; `None` when it has ended.
    ///
    /// # Errors
    /// When it says nothing for too long.
    pub fn answer(&mut self) -> Result<Option<String>> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(said) => Ok(Some(said)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the scribe says nothing"),
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().ok();
    }

    /// Lets it end by itself; its file stays active, as after any end.
    pub fn leave(mut self) {
        self.orders = None;
        self.child.wait().ok();
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The process itself: `scribe DIR FIRST MAX_BYTES AHEAD_MS`.
///
/// # Errors
/// When it cannot write there at all.
pub fn run(words: &[String]) -> Result<()> {
    let [dir, first, max_bytes, ahead_ms] = words else {
        bail!("scribe DIR FIRST MAX_BYTES AHEAD_MS");
    };
    let (mut next, max_size_bytes): (u64, u64) = (first.parse()?, max_bytes.parse()?);
    let ahead_ms: i64 = ahead_ms.parse()?;
    let clock = || {
        let millis = Timestamp::now().as_millisecond().saturating_add(ahead_ms);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    };
    let limits = Limits {
        max_size_bytes,
        rotate_after: NEVER,
    };
    let mut writer =
        SegmentWriter::open(Path::new(dir), SERVICE, limits, clock())?.context("another writes")?;
    say("ready");
    for order in io::stdin().lock().lines() {
        let order = order?;
        match order.split_once(' ') {
            Some(("write", count)) => {
                let mut said = "wrote".to_owned();
                for _ in 0..count.parse::<u64>()? {
                    if writer
                        .write_line(line(next, clock()).as_bytes(), clock())
                        .is_err()
                    {
                        write!(said, " {next}")?;
                    }
                    next += 1;
                }
                say(&said);
            }
            _ => say(if writer.rotate(clock()).is_ok() {
                "rotated"
            } else {
                "refused"
            }),
        }
    }
    Ok(())
}

fn say(line: &str) {
    // Whoever listened may have gone.
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// A line whose every byte is bound by a sum at its end: what is torn, mixed or repeated in part is seen.
#[must_use]
pub fn line(number: u64, at: Timestamp) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut chance = fastrand::Rng::with_seed(number);
    // One in a hundred is long: frames end at line ends, wherever those are.
    let length = match chance.u32(..100) {
        0 => chance.usize(20_000..90_000),
        _ => chance.usize(..600),
    };
    let pad: String = (0..length)
        .map(|_| char::from(LETTERS[chance.usize(..LETTERS.len())]))
        .collect();
    let head = format!(
        "{{\"ts\":\"{at:.3}\",\"level\":\"INFO\",\"service\":\"{SERVICE}\",\"seq\":{number},\"start\":\"t\",\"target\":\"t\",\"event\":\"test.line\",\"msg\":\"語{pad}\""
    );
    format!("{head},\"sum\":\"{:016x}\"}}", sum(head.as_bytes()))
}

/// The number of a line, when the line is whole.
///
/// # Errors
/// When a byte of it is not what was written.
pub fn number(line: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(line).context("not UTF-8")?;
    let cut = text
        .rfind(",\"sum\":\"")
        .context("a line without its end")?;
    let wanted = format!(",\"sum\":\"{:016x}\"}}", sum(&line[..cut]));
    ensure!(text[cut..] == wanted, "a line was changed: {text:.120}");
    let digits = text.split("\"seq\":").nth(1).unwrap_or_default();
    let end = digits.find(',').unwrap_or(digits.len());
    digits[..end].parse().context("a line without a number")
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_changed_is_seen() {
        let whole = line(7, Timestamp::UNIX_EPOCH);
        assert_eq!(number(whole.as_bytes()).unwrap(), 7);
        let changed = whole.replacen('語', "誤", 1);
        assert!(number(changed.as_bytes()).is_err());
        assert!(number(&whole.as_bytes()[..40]).is_err());
    }
}
