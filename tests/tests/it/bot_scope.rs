//! Words stay where they were said: looked at on the bytes that reach the model.

use tests::world::model::echo;
use tests::{House, World};

#[test]
fn no_word_of_one_place_is_in_a_prompt_of_another() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_CONTEXT_TOKENS", "30000")]);
    let people = [world.member("花"), world.member("太郎")];
    let channels = [world.general(), world.channel("内緒")];
    let mut places = Vec::new();
    // Everybody says a secret everywhere: in two threads, in a post, alone.
    for (who, person) in people.iter().enumerate() {
        for (at, channel) in channels.iter().enumerate() {
            let secret = format!("secret-thread-{who}-{at}");
            let said = world.mention(*person, *channel, &secret);
            world.answer(said, &secret);
            places.push((*person, Some(said), secret));
        }
        let secret = format!("secret-direct-{who}");
        let said = world.direct(*person, &secret);
        world.answer(said, &secret);
        places.push((*person, None, secret));
    }
    // Then everybody asks again everywhere; the seed is fixed, so a failure repeats.
    let mut chance = fastrand::Rng::with_seed(20_261_128);
    chance.shuffle(&mut places);
    for (number, (person, thread, own)) in places.iter().enumerate() {
        let question = format!("question-{number}");
        let said = match thread {
            Some(thread) => world.say(*person, *thread, &question),
            None => world.direct(*person, &question),
        };
        world.answer(said, &echo(&question));
        let prompt = world
            .asked()
            .into_iter()
            .rfind(|asked| asked.last().contains(&question))
            .unwrap();
        for (_, _, secret) in &places {
            assert_eq!(
                prompt.raw.contains(secret.as_str()),
                secret == own,
                "{secret} in the prompt of {own}: {}",
                prompt.raw
            );
        }
    }
    // A new thread of the same person in the same channel begins with nothing.
    let fresh = world.mention(people[0], channels[0], "fresh-start");
    world.answer(fresh, "fresh-start");
    let prompt = world.asked().pop().unwrap();
    assert!(
        places
            .iter()
            .all(|(_, _, secret)| !prompt.raw.contains(secret.as_str())),
        "{}",
        prompt.raw
    );
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn without_threads_each_member_has_a_memory_of_their_own_in_each_channel() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let other = world.channel("別の部屋");
    for (who, channel, text) in [
        (hana, world.general(), "hana-here"),
        (taro, world.general(), "taro-here"),
        (hana, other, "hana-there"),
    ] {
        let said = world.mention(who, channel, text);
        world.answer(said, text);
    }
    let said = world.mention(hana, world.general(), "覚えている");
    world.answer(said, "覚えている");
    let raw = world.asked().pop().unwrap().raw;
    assert!(
        raw.contains("hana-here") && !raw.contains("taro-here") && !raw.contains("hana-there"),
        "{raw}"
    );
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn memory_survives_a_restart_and_stays_within_its_budget() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot(&world);
    let said = world.mention(hana, world.general(), "first-word");
    world.answer(said, "first-word");
    bot.stop().expect_code(0);
    let bot = house.bot_with(&world, &[("LLM_CONTEXT_TOKENS", "2500")]);
    let next = world.say(hana, said, "second-word");
    world.answer(next, "second-word");
    assert!(world.asked().pop().unwrap().raw.contains("first-word"));
    for number in 0..8 {
        let text = format!("filler-{number} {}", "あ".repeat(300));
        let next = world.say(hana, said, &text);
        world.answer(next, &format!("filler-{number}"));
    }
    let raw = world.asked().pop().unwrap().raw;
    assert!(
        !raw.contains("first-word") && raw.contains("filler-7"),
        "old words give way: {raw}"
    );
    bot.stop().expect_code(0);
    world.finish();
}
