//! Sinks that fail, come back, refuse a line, and a sender that dies in between.

use super::*;
use std::sync::Mutex;

/// Takes lines into a shared list; fails when told to.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    fail: bool,
    calls: usize,
}

impl Sink for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn send(&mut self, _service: &str, lines: &[String], _now: i64) -> Result<Sent, Failure> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        if state.fail {
            return Err(Failure {
                why: "down".into(),
                cause: Cause::Other,
                wait: None,
            });
        }
        state.lines.extend_from_slice(lines);
        Ok(Sent {
            accepted: lines.len() as u64,
            refused: 0,
        })
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

fn forwarder(dir: &Path, sink: &Fake) -> Forwarder {
    let redactor = Arc::new(Redactor::new(vec!["very-secret-value".into()]).unwrap());
    Forwarder::new(dir, Box::new(sink.clone()), redactor).unwrap()
}

fn write(dir: &Path, name: &str, from: usize, count: usize) {
    let lines: Vec<String> = (from..from + count)
        .map(|number| format!("{{\"n\":{number}}}\n"))
        .collect();
    std::fs::write(dir.join(name), lines.concat()).unwrap();
}

fn wanted(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{{\"n\":{number}}}"))
        .collect()
}

#[test]
fn an_outage_loses_nothing_and_restarts_double_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    write(dir.path(), "bot.20260301T000001.000Z.log", 0, 1_200);
    sink.0.lock().unwrap().fail = true;
    assert!(
        forwarder(dir.path(), &sink)
            .round(&Shutdown::new())
            .is_err()
    );
    // While it is down: compression, rotation, and more lines.
    let raw = dir.path().join("bot.20260301T000001.000Z.log");
    crate::compress::compress(&raw, &raw.with_extension("log.zst"), 1).unwrap();
    std::fs::remove_file(raw).unwrap();
    write(dir.path(), "bot.20260301T000002.000Z.log", 1_200, 700);
    write(dir.path(), "bot.log", 1_900, 100);
    sink.0.lock().unwrap().fail = false;
    forwarder(dir.path(), &sink)
        .round(&Shutdown::new())
        .unwrap();
    assert_eq!(sink.0.lock().unwrap().lines, wanted(2_000));
    // A new process goes on where the checkpoint says: nowhere.
    forwarder(dir.path(), &sink)
        .round(&Shutdown::new())
        .unwrap();
    assert_eq!(sink.0.lock().unwrap().lines.len(), 2_000);
}

#[test]
fn a_batch_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    write(dir.path(), "bot.log", 0, BATCH.lines * 3);
    forwarder(dir.path(), &sink)
        .round(&Shutdown::new())
        .unwrap();
    assert_eq!(sink.0.lock().unwrap().calls, 3);
}

#[test]
fn nothing_secret_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    std::fs::write(
        dir.path().join("bot.log"),
        "{\"msg\":\"a very-secret-value b\"}\n",
    )
    .unwrap();
    forwarder(dir.path(), &sink)
        .round(&Shutdown::new())
        .unwrap();
    assert_eq!(
        sink.0.lock().unwrap().lines,
        ["{\"msg\":\"a [redacted] b\"}"]
    );
}
