//! Search against a model: what `grep` finds in everything, and nothing else.

use super::*;
use crate::compress;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

#[derive(Default)]
struct Collector(Vec<String>, Vec<bool>);

impl Taker for Collector {
    fn found(&mut self, found: Found<'_>) -> io::Result<()> {
        self.0
            .push(String::from_utf8_lossy(found.line).into_owned());
        self.1.push(found.gap);
        Ok(())
    }
}

/// Segment `n` is compressed when `n % 3 == 0`, doubled (raw beside compressed) when `n % 3 == 1`, raw else; the last
/// one is active.
fn desk(segments: &[Vec<String>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, lines) in segments.iter().enumerate() {
        let text = lines
            .iter()
            .map(|line| line.clone() + "\n")
            .collect::<Vec<_>>()
            .concat();
        if number + 1 == segments.len() {
            std::fs::write(dir.path().join("bot.log"), text).unwrap();
            continue;
        }
        let raw = dir
            .path()
            .join(format!("bot.202603{:02}T000000.000Z.log", number + 1));
        std::fs::write(&raw, text).unwrap();
        if number % 3 < 2 {
            compress::compress(&raw, &raw.with_extension("log.zst"), 1).unwrap();
        }
        if number % 3 == 0 {
            std::fs::remove_file(&raw).unwrap();
        }
    }
    dir
}

fn found(dir: &Path, query: &Query) -> Vec<String> {
    let mut collector = Collector::default();
    let searched = search(dir, query, &mut collector).unwrap();
    if query.context == 0 {
        assert_eq!(searched.hits as usize, collector.0.len());
    }
    collector.0
}

fn line(day: u32, hour: u32, level: &str, n: u32) -> String {
    format!(
        r#"{{"ts":"2026-03-{day:02}T{hour:02}:00:00.000Z","level":"{level}","service":"bot","n":{n},"msg":"hit"}}"#
    )
}

#[test]
fn conditions_narrow() {
    let day = |day| {
        (0..24)
            .map(|hour| {
                line(
                    day,
                    hour,
                    if hour % 2 == 0 { "INFO" } else { "ERROR" },
                    hour,
                )
            })
            .collect::<Vec<_>>()
    };
    let dir = desk(&[day(1), day(2), day(3), day(4)]);
    let query = || Query::new("hit", true, false).unwrap();
    assert_eq!(found(dir.path(), &query()).len(), 96);
    let at = |text: &str| line::millis_of(text.as_bytes());
    let hour = Query {
        since: at("2026-03-01T05:00:00Z"),
        until: at("2026-03-01T06:00:00Z"),
        ..query()
    };
    assert_eq!(found(dir.path(), &hour), [line(1, 5, "ERROR", 5)]);
    let errors = Query {
        level: Some(Level::Warn),
        ..query()
    };
    assert_eq!(found(dir.path(), &errors).len(), 48);
    let third = Query {
        fields: vec![("n".into(), "3".into())],
        ..query()
    };
    assert_eq!(found(dir.path(), &third).len(), 4);
    let none = Query {
        service: Some("log-shipper".into()),
        ..query()
    };
    assert!(found(dir.path(), &none).is_empty());
    let mut newest = found(
        dir.path(),
        &Query {
            newest: true,
            ..query()
        },
    );
    newest.reverse();
    assert_eq!(newest, found(dir.path(), &query()));
}

#[test]
fn an_hour_of_a_day_reads_one_frame() {
    let lines: Vec<String> = (0..24_u32)
        .flat_map(|hour| {
            (0..700).map(move |n| line(1, hour, "INFO", n).replace("hit", &"pad ".repeat(90)))
        })
        .collect();
    let dir = desk(&[lines, vec![]]);
    let whole = Query::new("pad", true, false).unwrap();
    let all = search(dir.path(), &whole, &mut Collector::default()).unwrap();
    let at = |text: &str| line::millis_of(text.as_bytes());
    let hour = Query {
        since: at("2026-03-01T05:00:00Z"),
        until: at("2026-03-01T06:00:00Z"),
        ..Query::new("pad", true, false).unwrap()
    };
    let part = search(dir.path(), &hour, &mut Collector::default()).unwrap();
    assert_eq!((all.hits, part.hits), (16_800, 700));
    assert!(
        part.bytes * 3 <= all.bytes,
        "{} of {}",
        part.bytes,
        all.bytes
    );
    // With lines around each hit, what is before and after the hour is read too; a segment without the hour is not.
    let around = Query { context: 1, ..hour };
    let part = search(dir.path(), &around, &mut Collector::default()).unwrap();
    assert_eq!((part.hits, part.bytes), (700, all.bytes));
    let later = Query {
        since: at("2026-03-02T00:00:00Z"),
        until: None,
        ..around
    };
    let none = search(dir.path(), &later, &mut Collector::default()).unwrap();
    assert_eq!((none.hits, none.bytes), (0, 0));
}

#[test]
fn context_is_as_of_grep() {
    let lines: Vec<String> = (0..20)
        .map(|n| {
            if n == 5 || n == 8 || n == 15 {
                format!("{n} hit")
            } else {
                n.to_string()
            }
        })
        .collect();
    let dir = desk(&[lines, vec![]]);
    let query = Query {
        context: 1,
        ..Query::new("hit", false, false).unwrap()
    };
    let mut collector = Collector::default();
    search(dir.path(), &query, &mut collector).unwrap();
    assert_eq!(
        collector.0,
        ["4", "5 hit", "6", "7", "8 hit", "9", "14", "15 hit", "16"]
    );
    assert_eq!(collector.1.iter().filter(|gap| **gap).count(), 1);
    let newest = found(
        dir.path(),
        &Query {
            newest: true,
            ..query
        },
    );
    assert_eq!(
        newest,
        ["14", "15 hit", "16", "4", "5 hit", "6", "7", "8 hit", "9"]
    );
}

#[test]
fn patterns_that_cross_lines_or_cost_too_much() {
    let dir = desk(&[vec!["a".into(), "b a".into(), "b".into()], vec![]]);
    assert_eq!(
        found(dir.path(), &Query::new(r"a\s*b", false, false).unwrap()),
        Vec::<String>::new()
    );
    assert_eq!(
        found(dir.path(), &Query::new(r"\Ab\z", false, false).unwrap()),
        ["b"]
    );
    assert_eq!(
        found(dir.path(), &Query::new("^b", false, false).unwrap()),
        ["b a", "b"]
    );
    assert_eq!(
        found(dir.path(), &Query::new("A", false, true).unwrap()),
        ["a", "b a"]
    );
    assert!(Query::new("(a{1000}){1000}", false, false).is_err());
    assert!(Query::new("(", false, false).is_err());
}

#[test]
fn a_broken_file_hides_its_own_lines_only() {
    let dir = desk(&[vec!["x hit".into()], vec!["y hit".into()], vec![]]);
    std::fs::write(
        dir.path().join("bot.20260301T000000.000Z.log.zst"),
        b"rubbish that is long enough",
    )
    .unwrap();
    let searched = search(
        dir.path(),
        &Query::new("hit", true, false).unwrap(),
        &mut Collector::default(),
    )
    .unwrap();
    assert_eq!((searched.hits, searched.unreadable), (1, 1));
}

proptest! {
    #[test]
    fn literal_search_is_grep(
        segments in proptest::collection::vec(proptest::collection::vec("[ab.*語 ]{0,6}", 0..12), 1..6),
        pattern in "[ab.*語 ]{0,3}", newest in any::<bool>(),
    ) {
        let dir = desk(&segments);
        let query = Query { newest, ..Query::new(&pattern, true, false).unwrap() };
        let mut got = found(dir.path(), &query);
        let mut wanted: Vec<String> = segments.concat().into_iter().filter(|line| line.contains(&pattern)).collect();
        got.sort();
        wanted.sort();
        prop_assert_eq!(got, wanted);
    }
}

/// Lines that could be anything: words of a log, awkward letters, bytes that are no text, very long ones, empty ones.
fn anything(chance: &mut TestRng, words: &[&str]) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..chance.random_range(0..9) {
        match chance.random_range(0..12) {
            0 => {
                line.extend(
                    (0..chance.random_range(0..6)).map(|_| chance.random_range(1..=255_u8)),
                );
            }
            1 => line.extend(std::iter::repeat_n(b'x', chance.random_range(0..3_000))),
            _ => line.extend(words[chance.random_range(0..words.len())].as_bytes()),
        }
    }
    line.retain(|byte| *byte != b'\n');
    line
}

/// `KILL_ROUNDS=1000` makes it long.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own length, not a program's setting"
)]
fn rounds() -> usize {
    let asked = std::env::var("KILL_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

const WORDS: [&str; 18] = [
    "{\"ts\":\"2026-03-01T09:00:00.000Z\",\"level\":\"INFO\"",
    "turn.answered",
    " ",
    "返事",
    "言葉",
    "a.b",
    "a*b",
    "[x]",
    "\\",
    "\"",
    "$",
    "^",
    "(",
    "é",
    "🍃",
    "\r",
    "ab",
    "ba",
];

/// Compressed segments of anything in `dir`; their lines.
fn anything_at_rest(dir: &Path, chance: &mut TestRng) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for number in 1..=chance.random_range(2..9_u32) {
        let count = chance.random_range(1..120);
        let these: Vec<Vec<u8>> = (0..count).map(|_| anything(chance, &WORDS)).collect();
        let raw = dir.join(format!("bot.202603{number:02}T000000.000Z.log"));
        let text: Vec<u8> = these
            .iter()
            .flat_map(|line| [line, &b"\n"[..]].concat())
            .collect();
        std::fs::write(&raw, text).unwrap();
        let level = chance.random_range(1..4);
        compress::compress(&raw, &raw.with_extension("log.zst"), level).unwrap();
        std::fs::remove_file(&raw).unwrap();
        lines.extend(these);
    }
    lines
}

/// Mostly a piece of a line that is there, cut anywhere between letters.
fn some_pattern(lines: &[Vec<u8>], chance: &mut TestRng) -> String {
    let line = String::from_utf8_lossy(&lines[chance.random_range(0..lines.len())]).into_owned();
    let usable = !line.is_empty() && !line.contains(['\u{FFFD}', '\0']);
    if !usable || chance.random_range(0..8) == 0 {
        let word = WORDS[chance.random_range(0..WORDS.len())];
        return word.repeat(chance.random_range(1..3));
    }
    let letters: Vec<char> = line.chars().collect();
    let from = chance.random_range(0..letters.len());
    let length = chance.random_range(1..12);
    letters[from..].iter().take(length).collect()
}

/// Files at rest: the same lines, as often, as `zstd -dc` and `grep -F` find, for thousands of patterns.
#[test]
fn literal_search_finds_what_stock_zstd_and_grep_find() {
    if stock("zstd --version && grep --version", Path::new("."), &[]).is_none() {
        eprintln!("SKIPPED: no zstd or grep here");
        return;
    }
    let mut chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut hits = 0;
    for _ in 0..rounds() {
        let dir = tempfile::tempdir().unwrap();
        let lines = anything_at_rest(dir.path(), &mut chance);
        let patterns: Vec<String> = (0..100)
            .map(|_| some_pattern(&lines, &mut chance))
            .collect();
        for (pattern, mut wanted) in patterns.iter().zip(grep(dir.path(), &patterns)) {
            let mut taken = Bytes::default();
            let query = Query {
                newest: chance.random_range(0..2) == 0,
                ..Query::new(pattern, true, false).unwrap()
            };
            search(dir.path(), &query, &mut taken).unwrap();
            hits += taken.0.len();
            taken.0.sort();
            wanted.sort();
            assert_eq!(taken.0, wanted, "{pattern:?}");
        }
    }
    assert!(hits > rounds() * 100, "{hits} hits prove little");
}

/// What stock tools find for each pattern.
fn grep(dir: &Path, patterns: &[String]) -> Vec<Vec<Vec<u8>>> {
    const EACH: &str = "zstd -dcq ./*.zst > all && for pattern in \"$@\"; do
        LC_ALL=C grep -aF -e \"$pattern\" all; [ $? -le 1 ] || exit 2; printf '\\000'; done";
    let found = stock(EACH, dir, patterns).unwrap();
    let mut answers = found.split(|byte| *byte == 0).map(|answer| {
        let lines = answer.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec())
            .collect()
    });
    let answers: Vec<Vec<Vec<u8>>> = answers.by_ref().take(patterns.len()).collect();
    assert_eq!(answers.len(), patterns.len());
    answers
}

#[derive(Default)]
struct Bytes(Vec<Vec<u8>>);

impl Taker for Bytes {
    fn found(&mut self, found: Found<'_>) -> io::Result<()> {
        self.0.push(found.line.to_vec());
        Ok(())
    }
}

/// What a shell says with these arguments; `None` when it fails.
fn stock(command: &str, dir: &Path, arguments: &[String]) -> Option<Vec<u8>> {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command, "sh"]).args(arguments);
    let output = shell.current_dir(dir).output().ok()?;
    output.status.success().then_some(output.stdout)
}
