//! The way to Discord as it is in earnest: `https://discord.com`, through serenity's own rate limiter. In a network of
//! its own, in which that name is this machine and nothing else can be reached.

use std::process::Command;

use serde_json::json;
use tests::tls::{Certificates, FrontDoor};
use tests::world::model::echo;
use tests::world::{BOT, RestAct};
use tests::{House, World, skipped};

use crate::story::words;

/// Set in the second run of a test, which is in the network of its own.
const INSIDE: &str = "KOTONOHA_TEST_INSIDE";

/// Brings up loopback, and lets `discord.com` be it.
const MOVE_IN: &str = "ip link set lo up && mount --bind \"$0\" /etc/hosts && exec \"$@\"";

#[expect(
    clippy::disallowed_methods,
    reason = "where a test runs, not a program's setting"
)]
fn is_inside() -> bool {
    std::env::var(INSIDE).is_ok()
}

/// Runs the test `name` of this program once more, inside.
fn again_inside(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost discord.com\n").unwrap();
    let inside = || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", MOVE_IN]);
        command.arg(&hosts);
        command
    };
    let can = inside().arg("true").output();
    if !can.is_ok_and(|output| output.status.success()) {
        skipped(&format!(
            "{name}: no right to make a network of its own (unshare --net --mount, ip)"
        ));
        return;
    }
    // By the process, not by its path: a build that runs beside the tests may have put another program there.
    let this_program = format!("/proc/{}/exe", std::process::id());
    let ended = inside()
        .arg(this_program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(
        ended.status.success() && out.contains("1 passed"),
        "{out}\n{err}"
    );
}

#[test]
fn over_tls_and_serenitys_limiter_a_429_is_waited_out_and_nobody_else_waits() {
    if !is_inside() {
        again_inside(
            "bot_https::over_tls_and_serenitys_limiter_a_429_is_waited_out_and_nobody_else_waits",
        );
        return;
    }
    let world = World::start();
    let house = House::new(&world);
    let Some(certificates) = Certificates::make(&house, "DNS:discord.com") else {
        skipped("openssl is not here, so Discord over TLS was not tested");
        world.finish();
        return;
    };
    let behind = world.url().trim_start_matches("http://").parse().unwrap();
    let door = FrontDoor::open(&certificates, "127.0.0.1:443", behind).unwrap();
    world.with(|state| state.scheme = "wss");
    let authority = certificates.authority.display().to_string();
    let bot = house.bot_with(
        &world,
        &[
            ("DISCORD_API_URL", "https://discord.com"),
            ("EXTRA_CA_FILE", &authority),
            ("THREADS", "off"),
        ],
    );
    let quiet = world.channel("静かな部屋");
    let too_many = |seconds, global| RestAct::TooMany { seconds, global };
    let general = format!("POST /channels/{}/messages", world.general());
    world.fault(&general, too_many(8.0, false), 1);
    let said = world.mention(world.member("花"), world.general(), "混んでいる");
    world.wait("the 429", |state| {
        let mut calls = state.rest.calls.iter();
        calls.any(|call| call.status == 429).then_some(())
    });
    let other = world.mention(world.member("太郎"), quiet, "空いている");
    world.answer(other, &echo("空いている"));
    assert!(
        world.answers(said).is_empty(),
        "the limit was not waited out"
    );
    world.answer(said, &echo("混んでいる"));

    // The limit of all routes at once.
    world.fault(&general, too_many(5.0, true), 1);
    let said = world.mention(world.member("次郎"), world.general(), "みんな待つ");
    world.wait("the second 429", |state| {
        let refused = state.rest.calls.iter().filter(|call| call.status == 429);
        (refused.count() == 2).then_some(())
    });
    // Bound by no limit, and not known any more after three seconds.
    let help = world.command(world.member("花"), quiet, "help", &json!([]));
    assert!(words(&world, help).contains("覚えること"));
    world.answer(said, &echo("みんな待つ"));
    bot.stop().expect_code(0);
    world.with(|state| {
        assert_eq!(state.rest.early, 0, "asked again before its time");
        let refused = state.rest.calls.iter().filter(|call| call.status == 429);
        assert_eq!(refused.count(), 2);
        let ours = state.messages.values().filter(|one| one.author == BOT);
        assert_eq!(ours.count(), 3, "each question has one answer");
    });
    assert!(door.came() > 0, "nothing came through the door");
    world.finish();
}
