//! Whatever Discord's REST does, the answer arrives once, or somewhere else, and nobody is blocked.

use std::time::Duration;

use tests::world::model::echo;
use tests::world::{RestAct, permission};
use tests::{House, World};

use crate::story::{settled, state};

const CREATE: &str = "POST /channels/*/messages";
const THREAD: &str = "POST /channels/*/messages/*/threads";

#[test]
fn faults_of_one_call_never_lose_or_double_an_answer() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let faults = [
        (
            "429 on the route",
            RestAct::TooMany {
                seconds: 0.3,
                global: false,
            },
        ),
        (
            "429 on everything",
            RestAct::TooMany {
                seconds: 0.3,
                global: true,
            },
        ),
        ("500", RestAct::Refuse(500, 0)),
        ("502", RestAct::Refuse(502, 0)),
        ("503", RestAct::Refuse(503, 0)),
        ("sent, answer unreadable", RestAct::LostAnswer),
        ("sent, answer lost to a 502", RestAct::LostTo502),
        ("slow", RestAct::Slow(Duration::from_millis(300))),
    ];
    for (number, (name, act)) in faults.into_iter().enumerate() {
        for route in [CREATE, THREAD] {
            world.fault(route, act.clone(), 1);
            let token = format!("fault-{number}-{}", route.len());
            let said = world.mention(world.member(name), world.general(), &token);
            world.answer(said, &echo(&token));
            assert_eq!(settled(&house, said), state::ANSWERED, "{name}");
            assert_eq!(world.answers(said).len(), 1, "{name} {route}");
            world.with(|state| state.rest.heal());
        }
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn edits_that_fail_still_end_in_the_whole_answer() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    for (number, act) in [
        RestAct::TooMany {
            seconds: 0.3,
            global: false,
        },
        RestAct::Refuse(500, 0),
        RestAct::LostAnswer,
    ]
    .into_iter()
    .enumerate()
    {
        world.close_gate();
        let token = format!("edit-{number}");
        let fits = token.clone();
        world.model_when(
            1,
            move |asked| asked.last().contains(&fits),
            tests::world::Act::Hold("はじめです。そして".to_owned(), "おわりです。".to_owned()),
        );
        let said = world.mention(world.member("花"), world.general(), &token);
        world.answer(said, "はじめです。");
        world.fault("PATCH /channels/*/messages/*", act, 1);
        world.open_gate();
        world.answer(said, "はじめです。そしておわりです。");
        assert_eq!(settled(&house, said), state::ANSWERED);
        assert_eq!(world.answers(said).len(), 1);
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn writes_that_fail_in_the_middle_are_no_reason_to_ask_again() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.close_gate();
    world.model(
        1,
        tests::world::Act::Hold("はじめです。そして".to_owned(), "おわりです。".to_owned()),
    );
    // As often as one post is tried.
    world.fault(CREATE, RestAct::Refuse(503, 0), 5);
    let said = world.mention(world.member("花"), world.general(), "書けないあいだ");
    world.wait("the beginning to be given up", |state| {
        let failed = state.rest.calls.iter().filter(|call| call.status == 503);
        (failed.count() == 5).then_some(())
    });
    // Discord takes it again: the same answer is shown as far as it has come, then whole.
    world.answer(said, "はじめです。");
    world.open_gate();
    world.answer(said, "はじめです。そしておわりです。");
    assert_eq!(settled(&house, said), state::ANSWERED);
    assert_eq!(world.answers(said).len(), 1);
    assert_eq!(world.asked().len(), 1, "asked once, paid for once");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn an_answer_that_discord_refuses_for_long_is_said_later_and_not_asked_for_again() {
    let world = World::start();
    let house = House::new(&world);
    let mut bot = house.bot_with(&world, &[("THREADS", "off")]);
    // As often as one post is tried.
    world.fault(CREATE, RestAct::Refuse(503, 0), 5);
    let said = world.mention(world.member("花"), world.general(), "まだ言えない");
    bot.wait_event("turn.left");
    // Whoever comes back looks at what was left.
    world.with(|state| state.gateway.close(4000));
    world.answer(said, &echo("まだ言えない"));
    assert_eq!(settled(&house, said), state::ANSWERED);
    assert_eq!(world.answers(said).len(), 1);
    assert_eq!(world.asked().len(), 1, "asked once, paid for once");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_limit_is_waited_out_and_nobody_else_waits() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let quiet = world.channel("静かな部屋");
    world.fault(
        &format!("POST /channels/{}/messages", world.general()),
        RestAct::TooMany {
            seconds: 2.0,
            global: false,
        },
        1,
    );
    let said = world.mention(world.member("花"), world.general(), "混んでいる");
    world.wait("the 429", |state| {
        state
            .rest
            .calls
            .iter()
            .any(|call| call.status == 429)
            .then_some(())
    });
    let other = world.mention(world.member("太郎"), quiet, "空いている");
    world.answer(other, &echo("空いている"));
    world.answer(said, &echo("混んでいる"));
    bot.stop().expect_code(0);
    world.with(|state| {
        assert_eq!(state.rest.early, 0, "asked again before its time");
        let sent: Vec<_> = state
            .rest
            .calls
            .iter()
            .filter(|call| call.what.starts_with("POST") && call.what.ends_with("/messages"))
            .collect();
        assert!(sent.iter().any(|call| call.status == 429));
    });
    world.finish();
}

#[test]
fn where_the_bot_may_not_speak_the_turn_is_closed_and_others_go_on() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let closed = world.channel("読むだけ");
    world.deny(
        closed,
        permission::SEND | permission::SEND_IN_THREADS | permission::THREADS,
    );
    let said = world.mention(world.member("花"), closed, "聞こえますか");
    assert_eq!(settled(&house, said), state::UNDELIVERABLE);
    let other = world.mention(world.member("太郎"), world.general(), "こちらは話せる");
    world.answer(other, &echo("こちらは話せる"));
    bot.stop().expect_code(0);
    assert!(world.answers(said).is_empty());
    // The owner is told the permission's name.
    world.expect_all();
    world.finish();
}

#[test]
fn a_thread_that_already_exists_is_used() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    // Somebody, or an earlier life, was faster: Discord says 160004 although we have heard of no thread.
    world.fault(THREAD, RestAct::LostTo502, 1);
    let said = world.mention(world.member("花"), world.general(), "二度目の糸");
    let reply = world.answer(said, &echo("二度目の糸"));
    assert_eq!(reply.channel, said);
    bot.stop().expect_code(0);
    world.finish();
}
