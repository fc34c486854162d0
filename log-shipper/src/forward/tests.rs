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
    refuse: bool,
    /// Acknowledges nothing: what was sent within this time may still be lost.
    pause: Duration,
    lost: bool,
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
        if state.refuse {
            return Ok(Sent {
                accepted: 0,
                refused: lines.len() as u64,
            });
        }
        state.lines.extend_from_slice(lines);
        Ok(Sent {
            accepted: lines.len() as u64,
            refused: 0,
        })
    }

    fn pause(&self) -> Duration {
        self.0.lock().unwrap().pause
    }

    fn look(&mut self) -> Result<(), Failure> {
        let lost = std::mem::take(&mut self.0.lock().unwrap().lost);
        let failure = Failure {
            why: "timed out".into(),
            cause: Cause::Silent,
            wait: None,
        };
        if lost { Err(failure) } else { Ok(()) }
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

/// Writes our own events where the shipper's own log stands, as the real program does.
struct OwnLog(PathBuf);

impl tracing::Subscriber for OwnLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        use std::io::Write;
        let mut log = std::fs::OpenOptions::new();
        let mut log = log.append(true).create(true).open(&self.0).unwrap();
        writeln!(log, "{{\"level\":\"{}\"}}", event.metadata().level()).unwrap();
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_sink_that_refuses_everything_is_told_once_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    sink.0.lock().unwrap().refuse = true;
    write(dir.path(), "bot.log", 0, BATCH.lines * 3);
    let own = dir.path().join("log-shipper.log");
    let mut forwarder = forwarder(dir.path(), &sink);
    tracing::subscriber::with_default(OwnLog(own.clone()), || {
        forwarder.round(&Shutdown::new()).unwrap();
    });
    // Three batches, and the line that tells of the first of them: it is refused too, and nobody is told of that now.
    assert_eq!(sink.0.lock().unwrap().calls, 4);
    assert_eq!(std::fs::read_to_string(&own).unwrap().lines().count(), 1);
    assert_eq!(forwarder.refusals.lines, BATCH.lines as u64 * 2 + 1);
    assert_eq!(forwarder.totals(), (0, BATCH.lines as u64 * 3 + 1));
    // An hour later the sum is told.
    let long_ago = Instant::now().checked_sub(REFUSALS_EVERY);
    forwarder.refusals.told = long_ago;
    forwarder.refusals.tell_if_due("fake");
    assert_eq!(forwarder.refusals.lines, u64::from(long_ago.is_none()));
}

#[test]
fn what_a_broken_connection_may_have_swallowed_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    sink.0.lock().unwrap().pause = Duration::from_secs(60);
    write(dir.path(), "bot.log", 0, 3);
    write(dir.path(), "tester.log", 3, 2);
    let mut forwarder = forwarder(dir.path(), &sink);
    forwarder.round(&Shutdown::new()).unwrap();
    assert_eq!(sink.0.lock().unwrap().lines, wanted(5));
    // Nothing new is written: the loss comes to light all the same, and both services go back.
    sink.0.lock().unwrap().lines.clear();
    sink.0.lock().unwrap().lost = true;
    assert!(forwarder.look().is_err());
    forwarder.look().unwrap();
    forwarder.round(&Shutdown::new()).unwrap();
    assert_eq!(sink.0.lock().unwrap().lines, wanted(5));
}

#[test]
fn what_was_missed_is_told_once_and_not_at_every_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Fake::default();
    write(dir.path(), "bot.log", 0, 1);
    forwarder(dir.path(), &sink)
        .round(&Shutdown::new())
        .unwrap();
    // Another file at the place that is half read: the rest of the first one is gone.
    write(dir.path(), "bot.log", 7, 1);
    sink.0.lock().unwrap().fail = true;
    let logs = tempfile::tempdir().unwrap();
    let own = logs.path().join("own.log");
    let told = || std::fs::read_to_string(&own).map_or(0, |text| text.lines().count());
    let mut forwarder = forwarder(dir.path(), &sink);
    tracing::subscriber::with_default(OwnLog(own.clone()), || {
        for _ in 0..3 {
            assert!(forwarder.round(&Shutdown::new()).is_err());
        }
        assert_eq!(told(), 0);
        sink.0.lock().unwrap().fail = false;
        forwarder.round(&Shutdown::new()).unwrap();
        assert_eq!(told(), 1);
    });
}
