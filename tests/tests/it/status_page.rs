//! The owner's page, written by the real program from a scripted day: exact counts, both languages, nothing given away.

use std::fs;

use serde_json::{Value, json};
use tests::House;

fn scripted_day(house: &House) {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut bot = String::new();
    let mut seq = 0;
    let mut say = |text: &mut String,
                   service: &str,
                   ago_minutes: i64,
                   level: &str,
                   event: &str,
                   more: Value| {
        let ts = jiff::Timestamp::from_millisecond(now - ago_minutes * 60_000)
            .unwrap()
            .to_string();
        let mut line = json!({"ts": ts, "level": level, "service": service, "seq": seq, "start": "s", "target": "t", "event": event, "msg": "canary words"});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        seq += 1;
        text.push_str(&line.to_string());
        text.push('\n');
    };
    say(
        &mut bot,
        "bot",
        600,
        "INFO",
        "start",
        json!({"build": "0.1.0 (test)"}),
    );
    say(
        &mut bot,
        "bot",
        600,
        "INFO",
        "settings",
        json!({"settings": "MONTHLY_BUDGET=10 TZ=Asia/Tokyo"}),
    );
    for turn in 0..25 {
        say(
            &mut bot,
            "bot",
            500 - turn * 20,
            "INFO",
            "turn.answered",
            json!({"ms": 1_000, "input_tokens": 10, "output_tokens": 4, "cost_usd": 0.02}),
        );
    }
    say(&mut bot, "bot", 15, "WARN", "turn.failed", json!({}));
    say(&mut bot, "bot", 14, "ERROR", "store.broken", json!({}));
    let mut backup = String::new();
    say(
        &mut backup,
        "backup-sidecar",
        90,
        "INFO",
        "backup.done",
        json!({"archive": "backup_20260301_020000.tar.zst", "bytes": 3_000_000}),
    );
    say(
        &mut backup,
        "backup-sidecar",
        80,
        "INFO",
        "drill.passed",
        json!({}),
    );
    house.write("logs/bot.log", bot);
    house.write("logs/backup-sidecar.log", backup);
}

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
    assert!(english.contains("It is answering") && english.contains("answers 25, failures 1"));
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
