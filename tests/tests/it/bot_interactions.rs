//! What commands must hold beyond their answers: forgetting reaches the bytes of every file, and nobody waits for a sign.

use serde_json::{Value, json};
use tests::world::model::echo;
use tests::world::{Act, Answer, Id, RestAct};
use tests::{House, World};

use crate::story::{files, stored, words};

#[test]
fn forgetting_asks_once_more_and_then_reaches_everything() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let said = world.mention(hana, world.general(), "canary-forget-me");
    world.answer(said, "canary-forget-me");
    let other = world.mention(taro, world.general(), "canary-keep-me");
    world.answer(other, "canary-keep-me");
    let asked = world.command(hana, world.general(), "mydata", &json!([]));
    words(&world, asked);
    let mine = files(&world, asked);
    assert!(mine.contains("canary-forget-me") && !mine.contains("canary-keep-me"));
    let place = json!([{"name": "where", "type": 3, "value": "everywhere"}]);
    let forget = world.command(hana, world.general(), "forget", &place);
    words(&world, forget);
    assert!(
        stored(&house, "%canary-forget-me%") > 0,
        "nothing goes before it is confirmed"
    );
    let pressed = world.press_under(hana, forget, "forget:everywhere");
    words(&world, pressed);
    let next = world.say(hana, said, "まだ覚えてる");
    world.answer(next, &echo("まだ覚えてる"));
    assert!(
        !world
            .asked()
            .pop()
            .unwrap()
            .raw
            .contains("canary-forget-me")
    );
    bot.stop().expect_code(0);
    assert_eq!(stored(&house, "%canary-forget-me%"), 0);
    assert!(stored(&house, "%canary-keep-me%") > 0);
    // Not in the pages of the files either.
    for path in tests::house::walk(&house.data()) {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("canary-forget-me"), "{}", path.display());
    }
    world.finish();
}

#[test]
fn everybody_is_acknowledged_however_many_wait_for_a_model() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let late = Act::Hold(String::new(), "遅い返事です".to_owned());
    world.model(200, late);
    let hana = world.member("花");
    let text = json!([{"name": "text", "type": 3, "value": "ゆっくりでいいよ"}]);
    // More than are worked on at once.
    let asked: Vec<Id> = (0..80)
        .map(|_| world.command(hana, world.general(), "ask", &text))
        .collect();
    world.wait("everybody's sign", |state| {
        let acknowledged = |id: &Id| state.interactions[id].answered == Some(5);
        asked.iter().all(acknowledged).then_some(())
    });
    // What needs no model does not wait behind them.
    let help = world.command(world.member("太郎"), world.general(), "help", &json!([]));
    assert!(words(&world, help).contains("覚えること"));
    assert!(world.with(|state| state.model.asked.len()) <= 64);
    world.open_gate();
    for one in asked {
        assert!(words(&world, one).contains("遅い返事です"));
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_limit_of_all_routes_keeps_no_press_waiting_for_its_sign() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let hana = world.member("花");
    let limit = RestAct::TooMany {
        seconds: 5.0,
        global: true,
    };
    world.fault("POST /channels/*/messages", limit, 1);
    let said = world.mention(hana, world.general(), "混んでいる");
    world.wait("the 429", |state| {
        let mut calls = state.rest.calls.iter();
        calls.any(|call| call.status == 429).then_some(())
    });
    // Discord would not know it any more after three of the five seconds.
    let help = world.command(hana, world.general(), "help", &json!([]));
    assert!(words(&world, help).contains("覚えること"));
    world.answer(said, &echo("混んでいる"));
    bot.stop().expect_code(0);
    assert_eq!(world.with(|state| state.rest.early), 0);
    world.finish();
}

#[test]
fn an_interaction_that_is_answered_late_is_announced_first() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(9, Act::Hold(String::new(), "遅い返事です".to_owned()));
    let words = json!([{"name": "text", "type": 3, "value": "ゆっくりでいいよ"}]);
    let ask = world.command(world.member("花"), world.general(), "ask", &words);
    // Discord waits three seconds for the first sign, whatever the model does.
    let first = world.wait("the announcement", |state| {
        state.interactions[&ask].answered
    });
    assert_eq!(first, 5);
    assert_ne!(
        world.with(|state| state.interactions[&ask].callback.clone()),
        Value::Null
    );
    world.open_gate();
    world.wait("the answer", |state| {
        let found = &state.interactions[&ask];
        let late = |answer: &Answer| answer.content.contains("遅い返事です");
        found.answers.iter().any(late).then_some(())
    });
    bot.stop().expect_code(0);
    world.finish();
}
