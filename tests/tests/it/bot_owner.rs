//! What only the owner can mend is told to the owner, once, and never to members.

use tests::world::model::echo;
use tests::world::{BOT, Kind, OWNER, permission};
use tests::{House, World};

use crate::story::{is_kind, only_answer, settled};

/// What the owner has been told so far.
fn told(world: &World) -> Vec<String> {
    world.with(|state| {
        let to_owner = |channel| {
            state
                .channels
                .get(&channel)
                .is_some_and(|place| place.kind == Kind::Direct && place.recipient == Some(OWNER))
        };
        state
            .messages
            .values()
            .filter(|message| message.author == BOT && to_owner(message.channel))
            .map(|message| message.content.clone())
            .collect()
    })
}

#[test]
fn a_missing_permission_is_told_once_by_its_name() {
    let world = World::start();
    let house = House::new(&world);
    world.deny(world.general(), permission::THREADS);
    let bot = house.bot(&world);
    for number in 0..3 {
        let words = format!("権限-{number}");
        let said = world.mention(world.member("花"), world.general(), &words);
        world.answer(said, &echo(&words));
    }
    world.expect("a word to the owner", |message| {
        message.content.contains("公開スレッドの作成")
    });
    bot.stop().expect_code(0);
    assert_eq!(told(&world).len(), 1, "{:?}", told(&world));
    world.finish();
}

#[test]
fn a_bot_in_no_server_sends_its_owner_the_invite_link() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.in_guild = false);
    let bot = house.bot_with(&world, &[("BOT_LANGUAGE", "en")]);
    world.expect("the link", |message| {
        let link = "https://discord.com/oauth2/authorize";
        message.content.contains(link) && message.content.contains(&BOT.to_string())
    });
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_retired_model_is_told_to_the_owner_and_replaced_by_the_next() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.model.retired.push("claude-haiku-4-5".to_owned()));
    let friend = world.member("代わりの管理者");
    let owners = friend.to_string();
    let bot = house.bot_with(
        &world,
        &[
            ("LLM_FALLBACK_MODEL", "openai/gpt-5-mini"),
            ("OWNER_IDS", &owners),
        ],
    );
    let said = world.mention(world.member("花"), world.general(), "まだ話せる");
    world.answer(said, &echo("まだ話せる"));
    let home = world.with(|state| state.direct_with(friend));
    let told_there = world.expect("a word to the owner", |message| message.channel == home);
    assert!(
        told_there.content.contains("claude-haiku-4-5") || told_there.content.contains("LLM_MODEL")
    );
    bot.stop().expect_code(0);
    assert!(told(&world).is_empty(), "only OWNER_IDS are told");
    world.finish();
}

#[test]
fn whoever_asks_a_lot_is_asked_to_breathe_and_others_are_answered() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("USER_RATE_LIMIT", "2")]);
    let hana = world.member("花");
    let said: Vec<_> = (0..3)
        .map(|number| world.mention(hana, world.general(), &format!("連投-{number}")))
        .collect();
    for said in &said {
        settled(&house, *said);
    }
    let other = world.mention(world.member("太郎"), world.general(), "はじめて");
    world.answer(other, &echo("はじめて"));
    let notes: Vec<_> = said
        .iter()
        .map(|said| only_answer(&world, &house, *said).1.content)
        .filter(|content| !content.contains("こたえ"))
        .collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(is_kind(&notes[0]));
    bot.stop().expect_code(0);
    world.finish();
}
