//! The owner's page, written by the real program from a scripted day: exact counts, both languages, nothing given away.

use std::fs;

use serde_json::Value;
use tests::House;

use crate::logs_model::strace_works;
use crate::status_story::scripted_day;

fn report(house: &House) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(house.logs().join("status.json")).ok()?).ok()
}

fn sum(report: &Value, of: &str, what: &str) -> u64 {
    report[of]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[1][what].as_u64().unwrap())
        .sum()
}

#[test]
fn status_page_counts_exactly_and_survives_a_restart() {
    let house = House::alone();
    scripted_day(&house);
    let launch = |language: &str| {
        house
            .program("log-shipper")
            .env("LOG_SWEEP_SECONDS", "1")
            .env("BOT_LANGUAGE", language)
    };
    let whole = |report: &Value| {
        sum(report, "hours", "answers") == 25 && report["archive"]["bytes"] == 3_000_000
    };
    let mut shipper = launch("en").start();
    shipper.poll("a page", |_| report(&house).filter(whole));
    // Killed, and its books lost: they are made again from the logs, with the same numbers.
    shipper.kill();
    for name in [".ledger.json", "status.json", "status.html"] {
        // The kill may have come before the last of them was written.
        fs::remove_file(house.logs().join(name)).ok();
    }
    let mut shipper = launch("en").start();
    let told = shipper.poll("a page again", |_| report(&house).filter(whole));
    assert_eq!(
        (
            sum(&told, "days", "answers"),
            sum(&told, "days", "failures")
        ),
        (25, 1)
    );
    assert_eq!((sum(&told, "hours", "failures")), 1);
    assert_eq!(told["bot"]["verdict"], "good");
    assert_eq!(told["backup"]["verdict"], "good");
    assert_eq!(told["troubles"].as_array().unwrap().len(), 1);
    shipper.stop().expect_code(0);

    let english = fs::read_to_string(house.logs().join("status.html")).unwrap();
    assert!(
        english.contains("It is answering")
            && english.contains("messages 26, answers 25, failures 1")
    );
    let mut shipper = launch("ja").start();
    shipper.poll("a Japanese page", |_| {
        let page = fs::read_to_string(house.logs().join("status.html")).ok()?;
        page.contains("応答しています").then_some(())
    });
    shipper.stop().expect_code(0);
    let japanese = fs::read_to_string(house.logs().join("status.html")).unwrap();
    for page in [english, japanese] {
        assert!(
            !page.contains("canary") && !page.contains("http://") && !page.contains("https://")
        );
        assert!(page.len() < 300_000, "{} bytes", page.len());
    }
}

/// What the owner is promised to find, in both languages.
const PARTS: [(&str, &str); 24] = [
    ("応答", "Answering"),
    ("起動", "started"),
    ("最後の返事", "last answer"),
    ("最新", "newest"),
    ("復元の練習に成功", "restore drill passed"),
    ("空き", "free"),
    ("やること", "What to do"),
    ("24 時間", "24 hours"),
    ("35 日", "35 days"),
    ("返事の速さ (中央値", "answer time (median"),
    ("遅いほう (95%)", "slow tail (95%)"),
    ("失敗", "failures"),
    ("モデルの切り替え", "failovers"),
    ("入力トークン", "tokens in"),
    ("出力トークン", "tokens out"),
    ("$0.50 / $10.00", "$0.50 / $10.00"),
    ("検証済み", "verified"),
    ("取れなかった日", "days missed"),
    ("ログの量", "Log volume"),
    ("WARN", "WARN"),
    ("最近のエラー", "Latest errors"),
    ("版", "version"),
    ("動いている長さ", "up for"),
    ("作成", "written"),
];

#[test]
fn status_page_has_every_part_in_both_languages() {
    let house = House::alone();
    scripted_day(&house);
    for language in ["ja", "en"] {
        fs::remove_file(house.logs().join("status.html")).ok();
        let launch = house.program("log-shipper").env("LOG_SWEEP_SECONDS", "1");
        let mut shipper = launch.env("BOT_LANGUAGE", language).start();
        let page = shipper.poll("a page", |_| {
            let page = fs::read_to_string(house.logs().join("status.html")).ok()?;
            page.contains("store.broken").then_some(page)
        });
        shipper.stop().expect_code(0);
        for (ja, en) in PARTS {
            let part = if language == "ja" { ja } else { en };
            assert!(page.contains(part), "{part} is not on the page");
        }
        assert!(page.contains("0.1.0 (test)"));
    }
}

/// So many lines of a service does the page count.
fn counted(house: &House, service: &str) -> u64 {
    let Some(report) = report(house) else {
        return 0;
    };
    let days = report["days"].as_array().unwrap().iter();
    days.filter_map(|day| day[1]["volume"][service][0].as_array())
        .flatten()
        .filter_map(Value::as_u64)
        .sum()
}

/// A new line costs what a line costs: none of ten thousand old segments is opened for it, nor for the new page.
#[test]
fn status_page_opens_no_old_log_for_a_new_line() {
    const OLD: i64 = 10_000;
    if !strace_works() {
        return;
    }
    let house = House::alone();
    let packed = zstd::encode_all(&b"{\"ts\":\"2026-03-01T00:00:00Z\"}\n"[..], 1).unwrap();
    for number in 0..OLD {
        let at = jiff::Timestamp::from_millisecond(1_772_323_200_000 + number).unwrap();
        let name = format!("tester.{}.log.zst", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
        fs::write(house.logs().join(name), &packed).unwrap();
    }
    let trace = house.path("tmp/trace");
    let strace = "strace -f -qq --seccomp-bpf -e trace=openat -o";
    let words = strace.split(' ').map(str::to_owned);
    let launch = house
        .program("log-shipper")
        .env("LOG_SWEEP_SECONDS", "1")
        .env("LOG_RETENTION_DAYS", "36500")
        .env("LOG_MIN_FREE", "0");
    let launch = launch.under(words.chain([trace.display().to_string()]));
    let mut shipper = launch.start();
    shipper.poll("the books of all old lines", |_| {
        let books = fs::read_to_string(house.logs().join(".ledger.json")).ok()?;
        let books: Value = serde_json::from_str(&books).ok()?;
        (books["places"]["tester"]["after"] == "20260301T000009.999Z").then_some(())
    });
    let opened = || {
        let told = fs::read_to_string(&trace).unwrap_or_default();
        told.matches(".log.zst").count()
    };
    let before = opened();
    assert!(before >= 10_000, "the trace shows only {before}");
    let now = jiff::Timestamp::now();
    let line = format!("{{\"ts\":\"{now}\",\"level\":\"INFO\",\"service\":\"fresh\"}}\n");
    for number in 1..=2 {
        house.write("logs/fresh.log", line.repeat(number));
        shipper.poll("a page with the new line", |_| {
            (counted(&house, "fresh") == number as u64).then_some(())
        });
    }
    assert_eq!(opened(), before, "old logs were opened again");
}
