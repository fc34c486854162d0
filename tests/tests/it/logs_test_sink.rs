//! `test-sink`: one line to each sink, and in plain words what stands in the way; TLS with the owner's certificate.

use std::io::{BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tests::receivers::certificates;
use tests::{House, PATIENCE, World};

#[test]
fn logs_test_sink_says_what_is_wrong() {
    let world = World::start();
    let house = House::alone();
    let closed = TcpListener::bind("127.77.13.7:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let command = || {
        let launch = house.program("log-shipper").args(["test-sink"]);
        launch.env("BOT_LANGUAGE", "en")
    };
    let nothing = command().run().expect_code(0);
    assert!(nothing.stdout.contains("no sink is set"));
    let down = command().env("SYSLOG_URL", format!("tcp://{closed}"));
    let down = down.run().expect_code(1).stdout;
    assert!(
        down.contains("nothing listens on that port") && down.contains("Connection refused"),
        "{down}"
    );
    let down = command().env("LOKI_URL", format!("http://{closed}"));
    let down = down.env("BOT_LANGUAGE", "ja").run().expect_code(1).stdout;
    assert!(down.contains("受け取るものがありません"), "{down}");
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
    for (status, words) in [
        (401, "user or password is wrong"),
        (404, "nothing at this address"),
        (429, "less at once"),
        (503, "trouble itself"),
        (400, "refuses the line"),
    ] {
        world.with(|state| state.sink.refuse = vec![status]);
        let refused = command().env("LOKI_URL", &url).run().expect_code(1);
        assert!(
            refused.stdout.contains(words),
            "{status}: {}",
            refused.stdout
        );
    }
    let plain = format!("tls://{}", world.url().split("://").nth(1).unwrap());
    let plain = command().env("SYSLOG_URL", plain).run().expect_code(1);
    assert!(
        plain.stdout.contains("does not speak TLS") || plain.stdout.contains("hung up"),
        "{}",
        plain.stdout
    );
    command().env("LOKI_URL", &url).run().expect_code(0);
    world.finish();
}

#[test]
fn logs_test_sink_in_a_container_without_a_network_says_so() {
    let house = House::alone();
    // A network namespace of its own, and a /sys that shows it: what `network_mode: none` makes of a container.
    let alone = [
        "unshare",
        "-rnm",
        "sh",
        "-c",
        "mount -t sysfs none /sys && exec \"$@\"",
        "sh",
    ];
    let possible = Command::new(alone[0])
        .args(&alone[1..])
        .arg("true")
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        tests::skipped(
            "no network namespaces here, so a container without a network was not tested",
        );
        return;
    }
    for (language, words) in [
        ("ja", "ネットワークがありません"),
        ("en", "Put LOG_NETWORK=bridge into .env"),
    ] {
        for (name, value) in [
            ("SYSLOG_URL", "tcp://192.0.2.1:514"),
            ("LOKI_URL", "http://loki.invalid:3100"),
        ] {
            let launch = house.program("log-shipper").args(["test-sink"]);
            let launch = launch.env("BOT_LANGUAGE", language).env(name, value);
            let told = launch.under(alone).run().expect_code(1);
            assert!(told.stdout.contains(words), "{name}: {}", told.stdout);
        }
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// openssl as a server on an address of the loopback, with the one certificate that there is.
fn tls_server(house: &House, address: &str) -> (Server, u16) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let pem = |name: &str| house.path(&format!("tmp/{name}"));
    let child = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept"])
        .arg(format!("{address}:{port}"))
        .arg("-cert")
        .arg(pem("leaf.pem"))
        .arg("-key")
        .arg(pem("leaf.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let server = Server(child.unwrap());
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect((address, port)).is_err() {
        assert!(Instant::now() < until, "openssl does not listen");
        thread::yield_now();
    }
    (server, port)
}

#[test]
fn logs_tls_trusts_the_owners_certificate_and_no_other() {
    let house = House::alone();
    if let Err(why) = certificates(&house, "127.77.13.6") {
        tests::skipped(&format!("syslog over TLS was not tested: {why:#}"));
        return;
    }
    let (mut server, port) = tls_server(&house, "127.77.13.6");
    let (_stranger, other_port) = tls_server(&house, "127.77.13.8");
    let command = |address: &str| {
        let launch = house
            .program("log-shipper")
            .args(["test-sink"])
            .env("SYSLOG_URL", format!("tls://{address}"));
        let launch = launch.env("BOT_LANGUAGE", "en");
        launch.env("SYSLOG_FLAVOR", "synology-ietf")
    };
    let address = format!("127.77.13.6:{port}");
    let unknown = command(&address).run().expect_code(1).stdout;
    assert!(
        unknown.contains("EXTRA_CA_FILE") && unknown.contains("TLS handshake"),
        "{unknown}"
    );
    let ca = house.path("tmp/ca.pem");
    let other = command(&format!("127.77.13.8:{other_port}")).env("EXTRA_CA_FILE", &ca);
    let other = other.run().expect_code(1).stdout;
    assert!(
        other.contains("The certificate is for another name"),
        "{other}"
    );
    command(&address)
        .env("EXTRA_CA_FILE", &ca)
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
