//! Many questions left open at once: each is answered once, and Discord is not asked about each of them.

use tests::world::Act;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{settled, state};

/// How often Discord was asked for the messages of a channel.
fn readings(world: &World, channel: u64) -> usize {
    let path = format!("GET /channels/{channel}/messages");
    world.with(|state| {
        let calls = state.rest.calls.iter();
        calls.filter(|call| call.what.starts_with(&path)).count()
    })
}

#[test]
fn many_open_questions_are_answered_once_and_their_channel_is_read_a_few_times() {
    const MANY: usize = 120;
    const TAKEN_BACK: usize = 7;
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(MANY, Act::Stall);
    let said: Vec<_> = (0..MANY)
        .map(|number| {
            let who = world.member(&format!("member-{number}"));
            world.mention(who, world.general(), &format!("open-{number}"))
        })
        .collect();
    world.wait("every question in the store", |_| {
        let store = house.database().exists().then(|| house.look())?;
        let open: i64 = store
            .query_row("SELECT count(*) FROM turns WHERE state = 0", [], |row| {
                row.get(0)
            })
            .ok()?;
        (open == MANY as i64).then_some(())
    });
    bot.kill();
    // One of them was taken back meanwhile.
    world.delete(said[TAKEN_BACK]);
    world.with(|state| state.model.heal());
    let before = readings(&world, world.general());
    let bot = house.bot(&world);
    for (number, said) in said
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != TAKEN_BACK)
    {
        world.answer(*said, &echo(&format!("open-{number}")));
        assert_eq!(settled(&house, *said), state::ANSWERED);
    }
    bot.stop().expect_code(0);
    for (number, said) in said.into_iter().enumerate() {
        let expected = usize::from(number != TAKEN_BACK);
        assert_eq!(world.answers(said).len(), expected, "question {number}");
    }
    let asked = readings(&world, world.general()) - before;
    assert!(asked < MANY / 10, "the channel was read {asked} times");
    world.finish();
}

#[test]
fn an_answer_far_below_its_question_is_found_and_not_given_again() {
    let world = World::start();
    let house = House::new(&world);
    let settings = [("THREADS", "off"), ("STREAMING", "off")];
    let hana = world.member("花");
    world.with(|state| state.nonce_memory = std::time::Duration::ZERO);
    let bot = house.bot_with(&world, &settings);
    world.model(
        1,
        Act::Slow(std::time::Duration::from_secs(3), Box::new(Act::Echo)),
    );
    world.fault(
        "POST /channels/*/messages",
        tests::world::RestAct::LostAnswer,
        99,
    );
    let said = world.mention(hana, world.general(), "人の多い部屋で");
    // More talk than Discord gives at one asking, before the answer comes.
    for number in 0..150 {
        world.say(hana, world.general(), &format!("chatter {number}"));
    }
    world.answer(said, &echo("人の多い部屋で"));
    bot.kill();
    world.with(|state| state.rest.heal());
    let bot = house.bot_with(&world, &settings);
    assert_eq!(settled(&house, said), state::ANSWERED);
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}
