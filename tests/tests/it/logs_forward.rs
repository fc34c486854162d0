//! Sinks: an outage with a kill -9 in the middle, TLS, refusals, alerts by webhook, and nothing secret on the wire.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tests::{House, PATIENCE, World};

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

#[test]
fn logs_test_sink_says_what_is_wrong() {
    let world = World::start();
    let house = House::alone();
    let closed = TcpListener::bind("127.77.13.7:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let command = || house.program("log-shipper").args(["test-sink"]);
    let nothing = command().run().expect_code(0);
    assert!(nothing.stdout.contains("no sink is set"));
    let down = command()
        .env("SYSLOG_URL", format!("tcp://{closed}"))
        .run()
        .expect_code(1);
    assert!(
        down.stdout.contains("syslog: connecting to"),
        "{}",
        down.stdout
    );
    let sent = command()
        .env("SYSLOG_URL", format!("udp://{}", world.syslog_udp()))
        .env("SYSLOG_FLAVOR", "qulog")
        .run()
        .expect_code(0);
    assert!(sent.stdout.contains("syslog: sent"), "{}", sent.stdout);
    world.wait("the datagram", |state| {
        let text = state
            .sink
            .datagrams
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.into_iter()
            .find(|text| text.contains("[qulog@event "))
            .map(|_| ())
    });
    let url = format!("{}/sink", world.url());
    world.with(|state| state.sink.refuse = vec![401]);
    let refused = command().env("LOKI_URL", &url).run().expect_code(1);
    assert!(
        refused.stdout.contains("user or password is wrong"),
        "{}",
        refused.stdout
    );
    command().env("LOKI_URL", &url).run().expect_code(0);
    world.finish();
}

/// A certificate authority, and a certificate of it for 127.77.13.6, made by openssl; false where there is none.
fn certificates(house: &House) -> bool {
    let extension = house.write(
        "tmp/leaf.cnf",
        "subjectAltName=IP:127.77.13.6\nbasicConstraints=CA:FALSE\n",
    );
    let path = |name: &str| house.path(&format!("tmp/{name}")).display().to_string();
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        command
            .args(words.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let (ca, ca_key, leaf, key, asked) = (
        path("ca.pem"),
        path("ca.key"),
        path("leaf.pem"),
        path("leaf.key"),
        path("leaf.csr"),
    );
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca -keyout {ca_key} -out {ca}"
    )) && openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=nas -keyout {key} -out {asked}"
    )) && openssl(&format!(
        "x509 -req -in {asked} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {} -out {leaf}",
        extension.display()
    ))
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn logs_tls_trusts_the_owners_certificate_and_no_other() {
    let house = House::alone();
    if !certificates(&house) {
        tests::skipped("openssl is not here, so syslog over TLS was not tested");
        return;
    }
    let listener = TcpListener::bind("127.77.13.6:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let pem = |name: &str| house.path(&format!("tmp/{name}"));
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-accept",
            &format!("127.77.13.6:{port}"),
            "-cert",
        ])
        .arg(pem("leaf.pem"))
        .arg("-key")
        .arg(pem("leaf.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut server = Server(child.unwrap());
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.77.13.6", port)).is_err() {
        assert!(Instant::now() < until, "openssl does not listen");
        thread::yield_now();
    }
    let command = || {
        let launch = house
            .program("log-shipper")
            .args(["test-sink"])
            .env("SYSLOG_URL", format!("tls://127.77.13.6:{port}"));
        launch.env("SYSLOG_FLAVOR", "synology-ietf")
    };
    let stranger = command().run().expect_code(1);
    assert!(
        stranger.stdout.contains("TLS handshake"),
        "{}",
        stranger.stdout
    );
    command()
        .env("EXTRA_CA_FILE", pem("ca.pem"))
        .run()
        .expect_code(0);
    let mut out = BufReader::new(server.0.stdout.take().unwrap());
    let (mut text, mut piece) = (Vec::new(), [0_u8; 256]);
    while !String::from_utf8_lossy(&text).contains("a test line of kotonoha") {
        let count = out.read(&mut piece).unwrap();
        assert!(
            count > 0,
            "openssl ended: {}",
            String::from_utf8_lossy(&text)
        );
        text.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let (length, message) = text.split_once(' ').unwrap();
    assert!(
        message.len() <= length.parse::<usize>().unwrap() && message.starts_with("<134>1 "),
        "{text}"
    );
}
