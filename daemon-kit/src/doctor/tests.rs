use std::fs;
use std::path::Path;

use super::*;

#[test]
fn a_directory_is_tried_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(directory(dir.path(), "data", true).severity, Severity::Fine);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "the probe is gone"
    );
    let missing = directory(&dir.path().join("absent"), "data", true);
    assert_eq!(missing.severity, Severity::Error);
    assert!(
        missing.fix.en.contains("mkdir -p data"),
        "{}",
        missing.line()
    );
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(directory(&file, "data", true).severity, Severity::Error);
}

#[test]
fn a_probe_that_a_killed_process_left_is_cleared_and_a_young_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".probe-1.partial", ".probe-2", ".probe-3", "kept"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    for name in [".probe-1.partial", ".probe-2", "kept"] {
        let file = fs::File::options().write(true).open(dir.path().join(name));
        file.unwrap().set_modified(an_hour_ago).unwrap();
    }
    assert_eq!(directory(dir.path(), "data", true).severity, Severity::Fine);
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".probe-3", "kept"]);
}

#[test]
fn many_may_try_one_directory_at_the_same_moment() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let finding = directory(dir.path(), "logs", true);
                    assert_eq!(finding.severity, Severity::Fine, "{}", finding.line());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_of_the_system_is_refused_with_both_owners() {
    // /proc refuses every writer, root too.
    let finding = directory(Path::new("/proc"), "logs", true);
    assert_eq!(finding.severity, Severity::Error);
    assert!(
        finding.evidence.contains("it belongs to 0:0"),
        "{}",
        finding.evidence
    );
}

#[test]
fn a_clock_from_the_factory_is_found() {
    assert_eq!(
        clock("1970-01-02T00:00:00Z".parse().unwrap()).severity,
        Severity::Error
    );
    assert_eq!(
        clock("2027-01-02T00:00:00Z".parse().unwrap()).severity,
        Severity::Fine
    );
}

#[test]
fn space_is_counted() {
    let here = Path::new(".");
    assert_eq!(
        free_space(here, "logs", 0).unwrap().severity,
        Severity::Fine
    );
    assert_eq!(
        free_space(here, "logs", u64::MAX).unwrap().severity,
        Severity::Warning
    );
}

#[test]
fn the_report_reads_well_in_both_languages() {
    let report = Report {
        findings: vec![
            Finding::fine("clock", Text::new("時計", "clock"), ""),
            Finding::error(
                "x",
                Text::new("困った", "trouble"),
                "42",
                Text::new("直す", "mend it"),
            ),
        ],
    };
    assert_eq!(report.severity(), Severity::Error);
    assert_eq!(
        report.text(Language::En),
        "OK  clock\nNG  trouble (42)\n    → mend it\n"
    );
    assert!(report.text(Language::Ja).contains("困った"));
    assert_eq!(report.json()["findings"][1]["severity"], "error");
}
