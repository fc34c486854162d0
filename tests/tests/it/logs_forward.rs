//! Sinks: an outage with a kill -9 in the middle, refusals, alerts by webhook, and nothing secret on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tests::{House, World};

use crate::logs_life::{close_segment, lines};

/// Receives lines over TCP, for as long as the test lasts.
fn receiver(listener: TcpListener) -> Arc<Mutex<Vec<String>>> {
    let received = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    shared.lock().unwrap().push(line);
                }
            });
        }
    });
    received
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| line.split("line ").nth(1)?.split(' ').next()?.parse().ok();
    lines
        .iter()
        .filter(|line| line.contains("tester: "))
        .filter_map(number)
        .collect()
}

#[test]
fn logs_an_outage_and_a_kill_lose_nothing_over_syslog() {
    let house = House::alone();
    // A port on which nobody listens yet: the outage. An address of its own, so that no other test gets the port.
    let listener = TcpListener::bind("127.77.13.5:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for part in 0..10 {
        close_segment(
            &house,
            &format!("tester.20260301T00000{part}.000Z.log"),
            &lines(part * 1_000, 1_000),
        );
    }
    let launch = || {
        let launch = house
            .program("log-shipper")
            .env("SYSLOG_URL", format!("tcp://{address}"));
        launch.env("SYSLOG_FLAVOR", "synology-bsd")
    };
    let mut shipper = launch().start();
    shipper.wait_event("forward.down");
    shipper.kill();
    let received = receiver(TcpListener::bind(address).unwrap());
    let mut shipper = launch().start();
    shipper.poll("some lines", |_| {
        (numbers(&received.lock().unwrap()).len() > 2_000).then_some(())
    });
    shipper.kill();
    let mut shipper = launch().start();
    shipper.poll("all lines", |_| {
        let seen: BTreeSet<u64> = numbers(&received.lock().unwrap()).into_iter().collect();
        (seen.len() == 10_000).then_some(())
    });
    shipper.stop().expect_code(0);
    let all = numbers(&received.lock().unwrap());
    // At least once: a kill between sending and its mark repeats one batch at most.
    assert!(all.len() <= 10_000 + 500, "{} lines", all.len());
}

#[test]
fn logs_a_loki_that_fails_and_refuses_gets_everything_else() {
    let world = World::start();
    let house = House::alone();
    close_segment(&house, "tester.20260301T000000.000Z.log", &lines(0, 1_200));
    // Trouble first, then "too many", then a batch that is refused as a whole: it is halved until it goes through.
    world.with(|state| state.sink.refuse = vec![503, 429, 400]);
    let url = format!("{}/sink", world.url());
    let mut shipper = house.program("log-shipper").env("LOKI_URL", url).start();
    let lines_of = |world: &World| {
        world.with(|state| {
            let mut seen = BTreeSet::new();
            for request in state
                .sink
                .http
                .iter()
                .filter(|request| request.what.contains("/loki/api/v1/push"))
            {
                let body: Value = serde_json::from_str(&request.body).unwrap();
                for stream in body["streams"].as_array().unwrap() {
                    for value in stream["values"].as_array().unwrap() {
                        let line: Value = serde_json::from_str(value[1].as_str().unwrap()).unwrap();
                        if line["service"] == "tester" {
                            seen.insert(line["seq"].as_u64().unwrap());
                        }
                    }
                }
            }
            seen
        })
    };
    shipper.poll("every line at the Loki", |_| {
        (lines_of(&world).len() == 1_200).then_some(())
    });
    shipper.poll("the mark", |_| {
        let mark = std::fs::read_to_string(house.logs().join(".checkpoint-loki.json")).ok()?;
        let mark: Value = serde_json::from_str(&mark).ok()?;
        (mark["places"]["tester"]["after"] == "20260301T000000.000Z").then_some(())
    });
    shipper.stop().expect_code(0);
    world.finish();
}

/// A Loki that can be away: it answers requests on a socket of its own, with whatever status it is told to.
struct FakeLoki {
    seen: Arc<Mutex<Vec<u64>>>,
    status: Arc<AtomicU16>,
}

impl FakeLoki {
    fn listen(listener: TcpListener) -> FakeLoki {
        let loki = FakeLoki {
            seen: Arc::new(Mutex::new(Vec::new())),
            status: Arc::new(AtomicU16::new(204)),
        };
        let (seen, status) = (Arc::clone(&loki.seen), Arc::clone(&loki.status));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, status) = (Arc::clone(&seen), Arc::clone(&status));
                thread::spawn(move || answer(stream, &seen, &status));
            }
        });
        loki
    }

    fn counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for number in self.seen.lock().unwrap().iter() {
            *counts.entry(*number).or_insert(0) += 1;
        }
        counts
    }
}

/// Requests of one connection: what is accepted is counted before it is acknowledged.
fn answer(stream: TcpStream, seen: &Mutex<Vec<u64>>, status: &AtomicU16) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let status = status.load(Ordering::SeqCst);
        if status == 204 {
            let body: Value = serde_json::from_slice(&body).ok()?;
            let streams = body["streams"].as_array()?.iter();
            let values = streams.filter_map(|stream| stream["values"].as_array());
            let numbers = values.flatten().filter_map(|value| {
                let line: Value = serde_json::from_str(value[1].as_str()?).ok()?;
                (line["service"] == "tester").then(|| line["seq"].as_u64())?
            });
            seen.lock().unwrap().extend(numbers);
        }
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        reader.get_mut().write_all(head.as_bytes()).ok()?;
    }
}

#[test]
fn logs_an_outage_and_a_kill_lose_nothing_over_loki() {
    let house = House::alone();
    let listener = TcpListener::bind("127.77.13.9:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for part in 0..10 {
        let name = format!("tester.20260301T00000{part}.000Z.log");
        close_segment(&house, &name, &lines(part * 1_000, 1_000));
    }
    let launch = || {
        let launch = house.program("log-shipper");
        launch.env("LOKI_URL", format!("http://{address}"))
    };
    let mut shipper = launch().start();
    shipper.wait_event("forward.down");
    shipper.kill();
    let loki = FakeLoki::listen(TcpListener::bind(address).unwrap());
    let mut shipper = launch().start();
    shipper.poll("some lines", |_| {
        (loki.counts().len() > 2_000).then_some(())
    });
    shipper.kill();
    assert!(loki.counts().len() < 10_000, "the kill came too late");
    // And away once more: trouble that is its own.
    loki.status.store(503, Ordering::SeqCst);
    let mut shipper = launch().start();
    shipper.poll("the second outage", |running| {
        let downs = running.events();
        let downs = downs.iter().filter(|line| line["event"] == "forward.down");
        (downs.count() == 2).then_some(())
    });
    loki.status.store(204, Ordering::SeqCst);
    shipper.poll("all lines", |_| {
        (loki.counts().len() == 10_000).then_some(())
    });
    shipper.stop().expect_code(0);
    let doubles: usize = loki.counts().values().map(|count| count - 1).sum();
    assert!(doubles <= 500, "{doubles} lines came twice");
}

/// The same error twice, and a failed backup, a moment ago.
fn grave_lines() -> String {
    let now = jiff::Timestamp::now();
    let line = |seq: u32, event: &str| {
        format!(
            "{{\"ts\":\"{now}\",\"level\":\"ERROR\",\"service\":\"bot\",\"seq\":{seq},\"start\":\"s\",\"target\":\"bot\",\"event\":\"{event}\",\"msg\":\"canary @everyone\"}}\n"
        )
    };
    [
        line(1, "store.broken"),
        line(2, "store.broken"),
        line(3, "backup.failed"),
    ]
    .concat()
}

#[test]
fn logs_errors_reach_the_outbox_and_the_webhook_once() {
    let world = World::start();
    let house = House::alone();
    house.write("logs/bot.log", grave_lines());
    let launch = || {
        let url = format!("{}/sink/api/webhooks/1/canary-webhook-token", world.url());
        house
            .program("log-shipper")
            .env("ALERT_WEBHOOK_URL", url)
            .env("LOG_SWEEP_SECONDS", "1")
            .env("BOT_LANGUAGE", "en")
    };
    let told = || {
        world.with(|state| {
            let requests = state
                .sink
                .http
                .iter()
                .filter(|request| request.what.contains("webhooks"));
            requests
                .map(|request| request.body.clone())
                .collect::<Vec<_>>()
        })
    };
    let mut shipper = launch().start();
    shipper.poll("two alerts at the webhook", |_| {
        (told().len() == 2).then_some(())
    });
    shipper.poll("the mark of the webhook", |_| {
        let mark = std::fs::read_to_string(house.logs().join(".checkpoint-webhook.json")).ok()?;
        (mark.matches("-error-").count() == 2).then_some(())
    });
    shipper.kill();
    let files = || -> Vec<String> {
        let entries = std::fs::read_dir(house.logs().join("alerts"))
            .unwrap()
            .flatten();
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".json"))
            .collect()
    };
    assert_eq!(files().len(), 2, "{:?}", files());
    // A second life finds the same lines again, or its books: nothing is told twice.
    let mut shipper = launch().start();
    // The first life's line of the start stands there already.
    shipper.poll("the second start", |running| {
        let starts = running.events();
        let starts = starts.iter().filter(|line| line["event"] == "start");
        (starts.count() == 2).then_some(())
    });
    shipper.stop().expect_code(0);
    assert_eq!((files().len(), told().len()), (2, 2));
    for body in told() {
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
        assert!(!body["content"].as_str().unwrap().contains("canary"));
    }
    let logs = house.all_logs();
    assert!(
        !logs.contains("canary-webhook-token"),
        "the webhook's address is in a log"
    );
    world.finish();
}
