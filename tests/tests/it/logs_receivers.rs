//! The dialects at real receivers, byte for byte: rsyslog and syslog-ng from Debian, over UDP, TCP and TLS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use tests::House;
use tests::receivers::{Kind, Receiver, Way, address, certificates};

use crate::logs_life::{close_segment, lines};

/// A house with certificates, and a receiver in it; or a loud word that there is none.
fn receiver(kind: Kind) -> Option<(House, Receiver)> {
    let (house, address) = (House::alone(), address());
    let made =
        certificates(&house, &address).and_then(|()| Receiver::start(kind, &house, &address));
    match made {
        Ok(receiver) => Some((house, receiver)),
        Err(why) => {
            let why = format!("{why:#}");
            // Only what is missing may be skipped: a receiver that does not start is a failure.
            assert!(why.contains("is not here"), "{why}");
            tests::skipped(&format!("{why}, so nothing was sent to a real one"));
            None
        }
    }
}

/// Lines that receivers stumble over, with what must come out: level's severity, message id, text.
fn awkward() -> Vec<(String, u8, &'static str, String)> {
    let line = |seq: u32, level: &str, event: &str, msg: &str| {
        json!({"ts": format!("2026-03-01T09:00:0{seq}.250+09:00"), "level": level, "service": "tester",
            "seq": seq, "start": "t1", "target": "t", "event": event, "msg": msg})
        .to_string()
    };
    let cases = [
        ("INFO", 6, "test.plain", "a plain line".to_owned()),
        ("ERROR", 3, "test.error", "静かな一行 🍃".to_owned()),
        (
            "WARN",
            4,
            "test.quotes",
            r#"a "quoted" \ ] [x y="z"] % $MSG"#.to_owned(),
        ),
        (
            "INFO",
            6,
            "test.lines",
            "first\nsecond\tthird\r\nfourth".to_owned(),
        ),
        ("DEBUG", 7, "test.long", "x".repeat(3_000)),
        ("INFO", 6, "test.wide", "言葉".repeat(700)),
        (
            "INFO",
            6,
            "test.edges",
            "  @everyone <134>1 - 12 ".to_owned(),
        ),
    ];
    let cases = cases.into_iter().zip(1..);
    cases
        .map(|((level, severity, event, msg), seq)| {
            let shown: String = msg
                .chars()
                .map(|letter| if letter.is_control() { ' ' } else { letter })
                .collect();
            let text = format!("{shown} seq={seq} start=t1");
            (line(seq, level, event, &msg), severity, event, text)
        })
        .collect()
}

/// The message as its dialect's description has it, put together without the program's code.
fn wanted(flavor: &str, way: Way, second: usize, case: &(String, u8, &str, String)) -> String {
    let (_, severity, event, text) = case;
    let priority = 16 * 8 + severity;
    let mut message = match flavor {
        "synology-bsd" => {
            format!("<{priority}>Mar  1 09:00:0{second} kotonoha tester: {text}")
        }
        "qulog" => format!(
            "<{priority}>1 2026-03-01T09:00:0{second}+09:00 kotonoha tester - {event} [qulog@event application=\"tester\"] {text}"
        ),
        _ => format!(
            "<{priority}>1 2026-03-01T09:00:0{second}.250+09:00 kotonoha tester - {event} - {text}"
        ),
    };
    let limit = match (way, flavor) {
        (Way::Udp, "synology-bsd") => 1_024,
        (Way::Udp, _) => 2_048,
        _ => 8_192,
    };
    let mut end = limit.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

fn every_dialect_arrives(kind: Kind) {
    let Some((house, receiver)) = receiver(kind) else {
        return;
    };
    let cases = awkward();
    let text: Vec<&str> = cases.iter().map(|(line, ..)| line.as_str()).collect();
    let text = text.join("\n") + "\n";
    close_segment(&house, "tester.20260301T000000.000Z.log", &text);
    let mut all = Vec::new();
    for flavor in ["synology-bsd", "synology-ietf", "qulog", "rfc5424"] {
        for way in [Way::Udp, Way::Tcp, Way::Tls] {
            // The same lines go out again for every dialect: the mark of the one before is taken away.
            std::fs::remove_file(house.logs().join(".checkpoint-syslog.json")).ok();
            let launch = house
                .program("log-shipper")
                .env("SYSLOG_URL", receiver.url(way, flavor == "synology-bsd"))
                .env("SYSLOG_FLAVOR", flavor);
            let ca: PathBuf = house.path("tmp/ca.pem");
            let mut shipper = launch.env("EXTRA_CA_FILE", ca).start();
            all.extend(
                (1..)
                    .zip(&cases)
                    .map(|(second, case)| wanted(flavor, way, second, case)),
            );
            let last = all.last().unwrap();
            shipper.poll(&format!("{flavor} over {way:?}"), |_| {
                let raw = receiver.raw();
                (raw.iter().filter(|line| *line == last).count()
                    == all.iter().filter(|line| *line == last).count())
                .then_some(())
            });
            shipper.stop().expect_code(0);
        }
    }
    // The program's own lines go out as well; what is compared is the tester's, all of it.
    let mut raw = receiver.raw();
    raw.retain(|line| line.contains(" kotonoha tester"));
    assert_eq!(raw, all);
    understood(kind, &receiver, &cases);
}

/// Both read host, program, time, id and text out of the new dialects as they were meant.
fn understood(kind: Kind, receiver: &Receiver, cases: &[(String, u8, &str, String)]) {
    let parsed = receiver.parsed();
    let (none, qulog) = match kind {
        Kind::Rsyslog => ("-", "[qulog@event application=\"tester\"]"),
        Kind::SyslogNg => ("", "[qulog@event application=\"tester\"]"),
    };
    for (data, zoned, times) in [(none, true, 6), (qulog, false, 3)] {
        let (_, severity, event, text) = &cases[1];
        let time = match (kind, zoned) {
            // syslog-ng shows whole seconds here.
            (Kind::Rsyslog, true) => "2026-03-01T09:00:02.250+09:00",
            _ => "2026-03-01T09:00:02+09:00",
        };
        let line = format!(
            "{}|{time}|kotonoha|tester|{event}|{data}|{text}",
            128 + severity
        );
        let count = parsed.iter().filter(|found| **found == line).count();
        assert_eq!(count, times, "{line}\n{parsed:#?}");
    }
}

#[test]
fn logs_every_dialect_arrives_at_rsyslog_byte_for_byte() {
    every_dialect_arrives(Kind::Rsyslog);
}

#[test]
fn logs_every_dialect_arrives_at_syslog_ng_byte_for_byte() {
    every_dialect_arrives(Kind::SyslogNg);
}

/// 10,000 lines wait for a receiver that is not there yet; the shipper is killed while it catches up.
fn an_outage_and_a_kill(kind: Kind, way: Way) {
    let Some((house, receiver)) = receiver(kind) else {
        return;
    };
    let url = receiver.url(way, false);
    drop(receiver);
    for part in 0..10 {
        let name = format!("tester.20260301T00000{part}.000Z.log");
        close_segment(&house, &name, &lines(part * 1_000, 1_000));
    }
    let launch = || {
        let launch = house
            .program("log-shipper")
            .env("EXTRA_CA_FILE", house.path("tmp/ca.pem"));
        launch.env("SYSLOG_URL", &url)
    };
    let mut shipper = launch().start();
    shipper.wait_event("forward.down");
    shipper.kill();
    let host = url.split("://").nth(1).unwrap().split(':').next().unwrap();
    let receiver = Receiver::start(kind, &house, host).unwrap();
    let arrived = || {
        let mut counts = BTreeMap::new();
        for line in receiver.raw() {
            let number = line.split(" - line ").nth(1);
            if let Some(number) = number.and_then(|text| text.split(' ').next()) {
                *counts.entry(number.parse::<u64>().unwrap()).or_insert(0) += 1;
            }
        }
        counts
    };
    let mut shipper = launch().start();
    shipper.poll("some lines", |_| (arrived().len() > 2_000).then_some(()));
    shipper.kill();
    let killed_at = arrived().len();
    let mut shipper = launch().start();
    shipper.poll("all lines", |_| (arrived().len() == 10_000).then_some(()));
    shipper.stop().expect_code(0);
    let doubles: u64 = arrived().values().map(|count| count - 1).sum();
    assert!(
        killed_at < 10_000,
        "the kill came too late to prove anything"
    );
    assert!(doubles <= 500, "{doubles} lines came twice");
}

#[test]
fn logs_an_outage_of_rsyslog_and_a_kill_lose_nothing() {
    an_outage_and_a_kill(Kind::Rsyslog, Way::Tls);
}

#[test]
fn logs_an_outage_of_syslog_ng_and_a_kill_lose_nothing() {
    an_outage_and_a_kill(Kind::SyslogNg, Way::Tcp);
}
