use std::fs;
use std::path::Path;

use super::*;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn settings(dir: &Path, level: Level) -> LogSettings {
    LogSettings {
        service: "daemon-kit",
        dir: dir.to_owned(),
        level,
        max_size_bytes: 1 << 20,
        rotate_after: Duration::from_secs(3_600),
        zone: TimeZone::get("Asia/Tokyo").unwrap(),
    }
}

fn logged(level: Level, act: impl FnOnce(&LogHandle, &Path)) -> (Vec<serde_json::Value>, String) {
    let dir = tempfile::tempdir().unwrap();
    let screen = Screen::default();
    let (layer, handle) = layer("daemon-kit", Box::new(screen.clone()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(event = "early", "before the file is open");
        assert!(handle.open(&settings(dir.path(), level)).unwrap());
        act(&handle, dir.path());
    });
    let text = fs::read_to_string(dir.path().join("daemon-kit.log")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines, screen.text())
}

#[test]
fn a_line_has_the_fields_of_the_contract() {
    let (lines, screen) = logged(Level::INFO, |_, _| {
        tracing::info!(event = "backup.done", bytes = 12_u64, name = %"a\nb", "all is well");
        tracing::debug!("not wanted");
    });
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["event"], "early");
    let line = &lines[1];
    assert_eq!(
        (line["level"].as_str(), line["service"].as_str()),
        (Some("INFO"), Some("daemon-kit"))
    );
    assert_eq!((&line["seq"], &line["bytes"]), (&2.into(), &12.into()));
    assert_eq!(
        (line["event"].as_str(), line["msg"].as_str()),
        (Some("backup.done"), Some("all is well"))
    );
    assert_eq!(line["start"], lines[0]["start"]);
    let ts = line["ts"].as_str().unwrap();
    assert!(
        ts.ends_with("+09:00") && ts.len() == "2026-11-28T09:00:00.123+09:00".len(),
        "{ts}"
    );
    let row = screen.lines().last().unwrap();
    assert!(
        row.contains(" - daemon_kit::logging::tests - INFO - all is well (bytes=12, name=a | b)"),
        "{row}"
    );
}

#[test]
fn a_library_speaks_only_when_worried_and_says_no_addresses() {
    let (lines, screen) = logged(Level::DEBUG, |_, _| {
        tracing::info!(target: "serenity::http", "chatter");
        tracing::warn!(target: "serenity::http", token = "canary-a", "GET https://canary-b/x failed");
        tracing::debug!("ours");
    });
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["event"], "library");
    assert_eq!(lines[1]["msg"], "GET […] failed");
    assert_eq!(lines[2]["msg"], "ours");
    assert!(!screen.contains("canary"), "{screen}");
}

#[test]
fn what_a_full_disk_refused_is_counted_and_told() {
    // A directory that is away refuses every line, until it is back.
    let (lines, screen) = logged(Level::INFO, |handle, dir| {
        let away = dir.with_extension("away");
        crate::publish::rename(dir, &away).unwrap();
        handle.rotate().unwrap_err();
        tracing::info!("lost one");
        tracing::info!("lost two");
        crate::publish::rename(&away, dir).unwrap();
        handle.rotate().unwrap();
        tracing::info!("kept");
    });
    let told: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert!(told.contains(&"log.lost"), "{told:?}");
    let lost = lines
        .iter()
        .find(|line| line["event"] == "log.lost")
        .unwrap();
    assert_eq!(
        (&lost["count"], &lost["first_seq"], &lost["last_seq"]),
        (&2.into(), &2.into(), &3.into())
    );
    assert_eq!(lines.last().unwrap()["msg"], "kept");
    assert_eq!(lines.last().unwrap()["seq"], 5);
    assert!(screen.contains("lost one"), "standard output goes on");
}

#[test]
fn a_quiet_screen_leaves_the_segment_whole() {
    let (lines, screen) = logged(Level::WARN, |_, _| {
        tracing::info!(event = "backup.done", "all is well");
        tracing::debug!("not wanted");
        tracing::warn!(event = "model.slow", "look here");
        tracing::warn!(target: "serenity::http", "a library is worried");
    });
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["early", "backup.done", "model.slow", "library"]);
    assert!(!screen.contains("all is well"), "{screen}");
    assert!(screen.contains("look here") && screen.contains("a library is worried"));
    let (lines, screen) = logged(Level::ERROR, |_, _| {
        tracing::info!(event = "alive", "still here");
        tracing::warn!(target: "serenity::http", "a library is worried");
    });
    assert_eq!(lines.len(), 3);
    assert!(
        !screen.contains("still here") && !screen.contains("worried"),
        "{screen}"
    );
}
