//! A scripted day, counted exactly; bounds that hold whatever the history; a page that gives nothing away.

use daemon_kit::Language;
use proptest::prelude::*;

use super::report::Verdict;
use super::report::calendar::Mark;
use super::*;
use crate::line;

/// 2026-03-10 09:00 in Tokyo.
const NOW: i64 = 1_773_100_800_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn zone() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(9))
}

fn enter(
    book: &mut Book,
    service: &str,
    at: i64,
    level: &str,
    event: &str,
    more: &serde_json::Value,
) {
    let ts = Timestamp::from_millisecond(at).unwrap().to_string();
    let mut line = serde_json::json!({"ts": ts, "level": level, "service": service, "event": event, "msg": "canary words"});
    line.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let text = line.to_string();
    book.enter(
        service,
        text.len() as u64 + 1,
        line::parse(text.as_bytes()).as_ref(),
        &zone(),
    );
}

fn none() -> &'static serde_json::Value {
    static NONE: std::sync::OnceLock<serde_json::Value> = std::sync::OnceLock::new();
    NONE.get_or_init(|| serde_json::json!({}))
}

fn scripted_day() -> Book {
    let mut book = Book::default();
    enter(
        &mut book,
        "bot",
        NOW - 20 * HOUR,
        "INFO",
        "start",
        &serde_json::json!({"build": "0.1.0 (abc <script>)"}),
    );
    enter(
        &mut book,
        "bot",
        NOW - 20 * HOUR,
        "INFO",
        "settings",
        &serde_json::json!({"settings": "TZ=Asia/Tokyo MONTHLY_BUDGET=10 X=1"}),
    );
    talk(&mut book);
    keep(&mut book);
    book
}

fn talk(book: &mut Book) {
    for number in 0..40_i64 {
        enter(
            book,
            "bot",
            NOW - number * HOUR / 4,
            "INFO",
            "message.accepted",
            none(),
        );
        let turn = serde_json::json!({"ms": 400 + number * 50, "input_tokens": 100, "output_tokens": 20, "cost_usd": 0.01});
        enter(
            book,
            "bot",
            NOW - number * HOUR / 4,
            "INFO",
            "turn.answered",
            &turn,
        );
    }
    for number in 0..3 {
        enter(
            book,
            "bot",
            NOW - number * HOUR,
            "WARN",
            "turn.failed",
            none(),
        );
        enter(
            book,
            "bot",
            NOW - number * HOUR,
            "WARN",
            "model.failed",
            none(),
        );
    }
    enter(
        book,
        "bot",
        NOW - HOUR,
        "ERROR",
        "store.commit_failed",
        none(),
    );
}

fn keep(book: &mut Book) {
    let done = serde_json::json!({"archive": "backup_20260310_020000.tar.zst", "bytes": 5_000_000});
    enter(
        book,
        "backup-sidecar",
        NOW - 7 * HOUR,
        "INFO",
        "backup.done",
        &done,
    );
    enter(
        book,
        "backup-sidecar",
        NOW - 6 * HOUR,
        "INFO",
        "drill.passed",
        none(),
    );
    enter(
        book,
        "backup-sidecar",
        NOW - HOUR / 2,
        "INFO",
        "alive",
        none(),
    );
}

fn around() -> Surroundings {
    Surroundings {
        now: NOW,
        free_bytes: Some(8 << 30),
        wanted_bytes: 512 << 20,
        logs: (3 << 20, 200 << 20),
    }
}

#[test]
fn the_bots_own_word_on_a_day_counts_once_and_replaces_what_answers_said() {
    let mut book = scripted_day();
    let whole = |book: &Book| {
        let months = book.months.values();
        months.fold((0, 0, 0.0), |sum, month| {
            (
                sum.0 + month.tokens_in,
                sum.1 + month.tokens_out,
                sum.2 + month.cost,
            )
        })
    };
    let (before, after) = (whole(&book), NOW + HOUR);
    let day = book.months.values().next_back().unwrap();
    let (date, counted) = day
        .counted
        .iter()
        .next()
        .map(|(d, c)| (d.clone(), *c))
        .unwrap();
    let told = serde_json::json!({"day": date, "messages": 9, "tokens_in": counted.0 + 1000, "tokens_out": counted.1 + 100, "usd": counted.2 + 1.0});
    // After a kill the bot says it again.
    for _ in 0..2 {
        enter(&mut book, "bot", after, "INFO", "usage.day", &told);
        let now = whole(&book);
        assert_eq!((now.0, now.1), (before.0 + 1000, before.1 + 100));
        assert!((now.2 - before.2 - 1.0).abs() < 1e-9);
    }
    let nonsense = serde_json::json!({"day": "あああああ", "tokens_in": 5});
    enter(&mut book, "bot", after, "INFO", "usage.day", &nonsense);
    assert_eq!(whole(&book).0, before.0 + 1000);
}

#[test]
fn a_scripted_day_is_counted_exactly() {
    let report = report(&scripted_day(), &around(), DAY, &zone());
    assert_eq!(
        report
            .hours
            .iter()
            .map(|(_, hour)| hour.answers)
            .sum::<u64>(),
        40
    );
    assert_eq!(
        report
            .hours
            .iter()
            .map(|(_, hour)| hour.failures)
            .sum::<u64>(),
        3
    );
    assert_eq!(
        report.days.iter().map(|(_, day)| day.answers).sum::<u64>(),
        40
    );
    assert_eq!(
        report.days.iter().map(|(_, day)| day.messages).sum::<u64>(),
        40
    );
    assert_eq!(report.calendar.last().unwrap().1, Mark::Verified);
    assert_eq!(
        report
            .days
            .iter()
            .map(|(_, day)| day.failovers)
            .sum::<u64>(),
        3
    );
    assert_eq!(
        (report.month.tokens_in, report.month.tokens_out),
        (4_000, 800)
    );
    assert!((report.month.cost - 0.4).abs() < 1e-9);
    assert_eq!(report.budget, Some(10.0));
    assert_eq!(report.troubles.len(), 1);
    let (median, tail) = report.answer_ms;
    // To within a class of a quarter: the true ones are 1,375 and 2,300 ms.
    assert!(
        (1_375..=1_720).contains(&median.unwrap()) && (2_300..=2_876).contains(&tail.unwrap()),
        "{median:?} {tail:?}"
    );
    assert_eq!(
        (
            report.bot.verdict,
            report.backup.verdict,
            report.disk.verdict
        ),
        (Verdict::Good, Verdict::Good, Verdict::Good)
    );
}

#[test]
fn verdicts_say_what_to_do() {
    let mut book = scripted_day();
    let look =
        |book: &Book, now: i64| report(book, &Surroundings { now, ..around() }, DAY, &zone());
    assert_eq!(look(&book, NOW + 3 * HOUR).bot.verdict, Verdict::Bad);
    enter(
        &mut book,
        "backup-sidecar",
        NOW + 30 * HOUR,
        "INFO",
        "alive",
        none(),
    );
    let late = look(&book, NOW + 30 * HOUR);
    assert_eq!(late.backup.verdict, Verdict::Bad);
    assert!(late.backup.todo.unwrap().en.contains("backup-now"));
    enter(&mut book, "bot", NOW, "INFO", "stop", none());
    assert_eq!(look(&book, NOW).bot.verdict, Verdict::Bad);
    enter(
        &mut book,
        "backup-sidecar",
        NOW,
        "ERROR",
        "drill.failed",
        none(),
    );
    assert_eq!(look(&book, NOW).backup.verdict, Verdict::Bad);
    enter(&mut book, "backup-sidecar", NOW, "INFO", "stop", none());
    let stopped = look(&book, NOW).backup.todo.unwrap();
    assert!(
        stopped.en.contains("kotonoha-backup-sidecar") && stopped.ja.contains("再起動"),
        "{stopped:?}"
    );
    let dear = serde_json::json!({"cost_usd": 9.6});
    enter(&mut book, "bot", NOW, "INFO", "turn.answered", &dear);
    let money = look(&book, NOW).money;
    assert_eq!(money.verdict, Verdict::Bad);
    assert!(money.todo.unwrap().en.contains("MONTHLY_BUDGET"));
    let tight = Surroundings {
        free_bytes: Some(1),
        ..around()
    };
    assert_eq!(
        report(&book, &tight, DAY, &zone()).disk.verdict,
        Verdict::Bad
    );
    let empty = look(&Book::default(), NOW);
    assert_eq!(
        (empty.bot.verdict, empty.backup.verdict),
        (Verdict::Unknown, Verdict::Unknown)
    );
}

#[test]
fn the_page_is_whole_in_both_languages_and_gives_nothing_away() {
    let report = report(&scripted_day(), &around(), DAY, &zone());
    for (language, wanted) in [
        (Language::Ja, "応答しています"),
        (Language::En, "It is answering"),
    ] {
        let page = page::render(&report, language, &zone());
        assert!(page.contains(wanted) && page.starts_with("<!doctype html>"));
        assert!(!page.contains("canary") && !page.contains("<script>)"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src="));
        assert!(page.contains("NaN").then_some(()).is_none());
        for tag in [
            "section", "article", "table", "svg", "ol", "dl", "main", "figure", "details",
        ] {
            assert_eq!(
                page.matches(&format!("<{tag}")).count(),
                page.matches(&format!("</{tag}>")).count(),
                "{tag}"
            );
        }
    }
    let english = page::render(&report, Language::En, &zone());
    assert!(
        english.contains("messages 40, answers 40, failures 3")
            && english.contains("$0.40 / $10.00")
    );
}

#[test]
fn the_size_is_bounded_whatever_the_history() {
    let mut book = Book::default();
    for number in 0..30_000_i64 {
        let service = format!("service-{}", number % 50);
        let service = if number % 3 == 0 { "bot" } else { &service };
        enter(
            &mut book,
            service,
            NOW - (30_000 - number) * HOUR,
            "ERROR",
            &format!("event.{number}"),
            none(),
        );
        enter(
            &mut book,
            "backup-sidecar",
            NOW - (30_000 - number) * HOUR,
            "INFO",
            "backup.done",
            &serde_json::json!({"bytes": 1, "archive": "x".repeat(500)}),
        );
    }
    let size = serde_json::to_vec(&book).unwrap().len();
    assert!(size < 400_000, "{size}");
    let page = page::render(
        &report(&book, &around(), DAY, &zone()),
        Language::Ja,
        &zone(),
    );
    assert!(page.len() < 300_000, "{}", page.len());
}

/// WCAG 2.1: text needs a contrast of 4.5 at least, in both colour schemes.
#[test]
fn colours_can_be_read() {
    let css = include_str!("page.css");
    let schemes: Vec<&str> = css
        .split(":root{")
        .skip(1)
        .map(|part| part.split('}').next().unwrap())
        .collect();
    // Light, dark and paper.
    assert_eq!(schemes.len(), 3);
    for scheme in schemes {
        let light = |name: &str| {
            let hex = scheme.split(&format!("--{name}:#")).nth(1).unwrap();
            let digits: String = hex.chars().take_while(char::is_ascii_hexdigit).collect();
            let digits = if digits.len() == 3 {
                digits.chars().flat_map(|digit| [digit, digit]).collect()
            } else {
                digits
            };
            let part = |at: usize| {
                let value = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.040_45 {
                    value / 12.92
                } else {
                    ((value + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
        };
        for (text, ground) in [
            ("fg", "bg"),
            ("soft", "bg"),
            ("fg", "card"),
            ("soft", "card"),
            ("good", "card"),
            ("warn", "card"),
            ("bad", "card"),
        ] {
            let (a, b) = (light(text), light(ground));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
        }
    }
}

proptest! {
    #[test]
    fn percentiles_are_right_to_within_a_class(mut millis in proptest::collection::vec(60_u64..500_000, 1..80), percent in 1_u64..100) {
        let mut times = Vec::new();
        for one in &millis {
            add_time(&mut times, *one);
        }
        millis.sort_unstable();
        let rank = ((millis.len() as u64 * percent).div_ceil(100).max(1) - 1) as usize;
        let exact = millis[rank] as f64;
        let told = percentile(&times, percent).unwrap() as f64;
        prop_assert!(told >= exact - 1.0 && told <= exact * 1.26 + 1.0, "{} for {}", told, exact);
    }
}
