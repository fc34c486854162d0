//! The stand-in itself: it refuses what the real ones refuse, and it notices what nobody expected.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tests::World;
use tests::world::{BOT, RestAct, TOKEN};

fn call(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let address = world.url().trim_start_matches("http://").to_owned();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "{method} /api/v10{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bot {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let text = answer
        .split_once("\r\n\r\n")
        .map(|(_, text)| text)
        .unwrap_or_default();
    (status, serde_json::from_str(text).unwrap_or(Value::Null))
}

#[test]
fn a_message_comes_back_as_it_was_sent_and_the_same_nonce_only_once() {
    let world = World::start();
    let path = format!("/channels/{}/messages", world.general());
    let body = json!({"content": "やあ", "nonce": "n1", "enforce_nonce": true, "allowed_mentions": {"parse": []}});
    let (status, first) = call(&world, "POST", &path, &body);
    assert_eq!((status, first["content"].as_str()), (200, Some("やあ")));
    let (_, second) = call(&world, "POST", &path, &body);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(
        world
            .expect("the message", |message| message.nonce.as_deref()
                == Some("n1"))
            .author,
        BOT
    );
    world.finish();
}

#[test]
fn what_discord_refuses_is_refused_and_remembered() {
    let world = World::start();
    let path = format!("/channels/{}/messages", world.general());
    for body in [
        json!({"content": "x".repeat(2001)}),
        json!({"content": " "}),
        json!({"content": "a", "nonce": "n".repeat(26)}),
    ] {
        assert_eq!(call(&world, "POST", &path, &body).0, 400);
    }
    let said = world.say(world.member("花"), world.general(), "おはよう");
    assert_eq!(
        call(
            &world,
            "PATCH",
            &format!("{path}/{said}"),
            &json!({"content": "a"})
        )
        .0,
        403
    );
    assert_eq!(
        world.with(|state| std::mem::take(&mut state.violations).len()),
        3
    );
    world.finish();
}

#[test]
fn an_interaction_without_a_sign_for_three_seconds_is_not_known_any_more() {
    let world = World::start();
    let hana = world.member("花");
    let sign = json!({"type": 5, "data": {"flags": 64}});
    let mut answered = Vec::new();
    for waited in [Duration::from_secs(1), Duration::from_secs(4)] {
        let pressed = world.submit(hana, world.general(), "form", &[]);
        let token = world.with(|state| {
            let found = state.interactions.get_mut(&pressed).unwrap();
            found.sent -= waited;
            found.token.clone()
        });
        let path = format!("/interactions/{pressed}/{token}/callback");
        let (status, body) = call(&world, "POST", &path, &sign);
        answered.push((status, body["code"].as_u64()));
    }
    assert_eq!(answered, [(204, None), (404, Some(10_062))]);
    let violations = world.with(|state| std::mem::take(&mut state.violations));
    assert_eq!(violations.len(), 1, "{violations:?}");
    world.finish();
}

#[test]
fn scripted_faults_come_first_and_go_away() {
    let world = World::start();
    let path = format!("/channels/{}/messages", world.general());
    world.fault(
        "POST /channels/*/messages",
        RestAct::TooMany {
            seconds: 0.1,
            global: false,
        },
        1,
    );
    let (status, body) = call(
        &world,
        "POST",
        &path,
        &json!({"content": "a", "allowed_mentions": {"parse": []}}),
    );
    assert_eq!((status, body["retry_after"].as_f64()), (429, Some(0.1)));
    assert_eq!(
        call(
            &world,
            "POST",
            &path,
            &json!({"content": "a", "allowed_mentions": {"parse": []}})
        )
        .0,
        200
    );
    world.expect_all();
    world.finish();
}

#[test]
#[should_panic(expected = "nobody expected")]
fn an_unexpected_message_fails_the_story() {
    let world = World::start();
    call(
        &world,
        "POST",
        &format!("/channels/{}/messages", world.general()),
        &json!({"content": "a", "allowed_mentions": {"parse": []}}),
    );
    world.finish();
}
