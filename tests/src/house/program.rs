//! One process: started with exactly the environment it should have, watched line by line, killed when the test lets go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::NOBODY;
use super::binaries::binary;
use crate::PATIENCE;

/// Lines of output kept for a failed test.
const SHOWN: usize = 60;

/// A program that is about to start.
pub struct Launch {
    name: String,
    arguments: Vec<OsString>,
    environment: BTreeMap<String, OsString>,
    logs: PathBuf,
    before: Vec<OsString>,
}

impl Launch {
    pub(super) fn new(name: &str, environment: &[(String, String)], logs: &Path) -> Self {
        let environment = environment
            .iter()
            .map(|(name, value)| (name.clone(), OsString::from(value)))
            .collect();
        Self {
            name: name.to_owned(),
            arguments: Vec::new(),
            environment,
            logs: logs.to_owned(),
            before: Vec::new(),
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a variable out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it under another program, such as `strace -f …`.
    #[must_use]
    pub fn under<A: Into<OsString>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.before = words.into_iter().map(Into::into).collect();
        self
    }

    /// Starts it and lets it run.
    pub fn start(self) -> Running {
        let program = binary(&self.name);
        let mut command = match self.before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(root) = self.logs.parent() {
            command.current_dir(root);
        }
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let output = Arc::new(Mutex::new(Output::default()));
        let readers = vec![
            child
                .stdout
                .take()
                .map(|pipe| follow(pipe, output.clone(), false)),
            child
                .stderr
                .take()
                .map(|pipe| follow(pipe, output.clone(), true)),
        ];
        Running {
            name: self.name,
            child,
            output,
            readers: readers.into_iter().flatten().collect(),
            logs: self.logs,
            ended: None,
        }
    }

    /// Runs it to its end, within the bound.
    pub fn run(self) -> Finished {
        self.start().ended()
    }
}

#[derive(Default)]
struct Output {
    out: String,
    err: String,
}

fn follow(
    pipe: impl Read + Send + 'static,
    output: Arc<Mutex<Output>>,
    err: bool,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&line);
            if err {
                output.err.push_str(&text);
            } else {
                output.out.push_str(&text);
            }
            line.clear();
        }
    })
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything it said.
    pub stdout: String,
    /// Everything it complained about.
    pub stderr: String,
}

impl Finished {
    /// Fails unless the code is as said.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "signal {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.signal,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// A process at work. Dropping it kills it.
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Mutex<Output>>,
    readers: Vec<thread::JoinHandle<()>>,
    logs: PathBuf,
    ended: Option<Finished>,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to stdout and stderr so far.
    pub fn output(&self) -> (String, String) {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        (output.out.clone(), output.err.clone())
    }

    /// Whether it is still there.
    pub fn alive(&mut self) -> bool {
        self.ended.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a line on stdout or stderr that contains a text.
    pub fn wait_line(&mut self, text: &str) -> String {
        self.poll(&format!("a line with {text:?}"), |running| {
            let (out, err) = running.output();
            out.lines()
                .chain(err.lines())
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    /// The events this program has logged to its files so far, closed segments first.
    pub fn events(&self) -> Vec<Value> {
        events(&self.logs, &self.name)
    }

    /// Waits for a log event by its stable name.
    pub fn wait_event(&mut self, event: &str) -> Value {
        self.wait_event_that(event, |_| true)
    }

    /// Waits for a log event by its stable name and more.
    pub fn wait_event_that(&mut self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.poll(&format!("the event {event}"), |running| {
            running
                .events()
                .into_iter()
                .find(|line| line["event"] == event && fits(line))
        })
    }

    /// Waits for anything that has to be asked for again and again; fails after the bound or when the program ends first.
    pub fn poll<R>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<R>) -> R {
        let until = Instant::now() + PATIENCE;
        loop {
            let alive = self.alive();
            if !alive {
                // What it said last may still be on its way through the pipe.
                self.readers
                    .drain(..)
                    .for_each(|reader| drop(reader.join()));
            }
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                alive,
                "{} ended while the test waited for {what}",
                self.name
            );
            assert!(
                Instant::now() < until,
                "{} was waited for in vain: {what}",
                self.name
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, signal).ok();
        }
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(self) -> Finished {
        self.terminate();
        self.ended()
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(mut self) -> Finished {
        self.child.kill().ok();
        self.ended()
    }

    /// SIGKILL for what runs under another program such as strace, which ends with it, then waits for the end.
    pub fn kill_inner(self) -> Finished {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let inner = children.unwrap_or_default();
        for pid in inner.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        self.ended()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Finished {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                _ => panic!("{} does not end", self.name),
            }
        };
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
        let (stdout, stderr) = self.output();
        let finished = Finished {
            code: status.code(),
            signal: status.signal(),
            stdout,
            stderr,
        };
        self.ended = Some(finished.clone());
        finished
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if thread::panicking() {
            let (out, err) = self.output();
            for (pipe, text) in [("stdout", out), ("stderr", err)] {
                let lines: Vec<&str> = text.lines().collect();
                let from = lines.len().saturating_sub(SHOWN);
                show(&format!(
                    "--- {} {pipe}, the last lines ---\n{}\n",
                    self.name,
                    lines[from..].join("\n")
                ));
            }
        }
    }
}

/// To the test's captured output.
fn show(text: &str) {
    use std::io::Write;
    std::io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// The events of a program in the plain files of a log directory, closed segments first.
#[must_use]
pub fn events(logs: &Path, service: &str) -> Vec<Value> {
    let mut names: Vec<PathBuf> = fs::read_dir(logs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let active = format!("{service}.log");
    names.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{service}."))
            && (name.ends_with(".log") || name.ends_with(".log.zst"))
    });
    names.sort_by_key(|path| (path.ends_with(&active), path.clone()));
    let mut found = Vec::new();
    for path in names {
        let Ok(bytes) = fs::read(&path) else { continue };
        let bytes = if path.extension().is_some_and(|end| end == "zst") {
            zstd::decode_all(&*bytes).unwrap_or_default()
        } else {
            bytes
        };
        found.extend(
            String::from_utf8_lossy(&bytes)
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok()),
        );
    }
    found
}
