//! `config/kotonoha.yaml` while the bot runs, and what a day took.

use rusqlite::Connection;
use tests::house::events;
use tests::world::Act;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{only_answer, settled, state, words};

#[test]
fn a_changed_persona_is_taken_and_a_bad_file_changes_nothing() {
    let world = World::start();
    let house = House::new(&world);
    house.write(
        "config/kotonoha.yaml",
        "persona: cat\npersonas:\n  cat:\n    prompt: canary-cat\n",
    );
    let mut bot = house.bot(&world);
    let hana = world.member("花");
    let system = |text: &str| {
        let said = world.mention(hana, world.general(), text);
        world.answer(said, &echo(text));
        world.asked().pop().unwrap().system()
    };
    assert!(system("だれ").contains("canary-cat"));
    house.write(
        "config/kotonoha.yaml",
        "persona: dog\npersonas:\n  dog:\n    prompt: canary-dog\n",
    );
    bot.wait_event("settings.reread");
    assert!(system("いまは").contains("canary-dog"));
    house.write(
        "config/kotonoha.yaml",
        "footer: on\npersona: dog\npersonas:\n  dog:\n    manners: perhaps\n",
    );
    let problem = bot.wait_event("settings.problem");
    assert!(
        problem["problem"].as_str().unwrap().contains("line 5"),
        "{problem}"
    );
    assert!(
        system("それでも").contains("canary-dog"),
        "the old one is kept"
    );
    world.expect("the owner to be told the line", |message| {
        message.content.contains("5 行目")
    });
    bot.stop().expect_code(0);
    // At the start a bad file is told with its line as well.
    let ended = house
        .program("bot")
        .env("BOT_LANGUAGE", "en")
        .run()
        .expect_code(78);
    assert!((ended.stdout + &ended.stderr).contains("line 5"));
    world.finish();
}

/// A mention and a direct message, answered; then two days go by.
fn two_days_ago(world: &World, house: &House) {
    let mut bot = house.bot(world);
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "いくらかな");
    world.answer(said, &echo("いくらかな"));
    let direct = world.direct(hana, "ここでは");
    world.answer(direct, &echo("ここでは"));
    for turn in [said, direct] {
        settled(house, turn);
    }
    bot.poll("the first look at past days", |_| {
        let told = "SELECT count(*) FROM settings WHERE name = 'usage:told'";
        let told = house.look().query_row(told, [], |row| row.get(0));
        (told == Ok(1_i64)).then_some(())
    });
    bot.stop().expect_code(0);
    let lines = events(&house.logs(), "bot");
    assert!(
        lines.iter().all(|line| line["event"] != "usage.day"),
        "today is not over"
    );
    let store = Connection::open(house.database()).unwrap();
    store
        .execute_batch(
            "UPDATE usage_places SET day = date(day, '-2 days');
             UPDATE settings SET value = date(value, '-3 days') WHERE name = 'usage:told';",
        )
        .unwrap();
    drop(store);
    house.settle();
}

#[test]
fn what_a_day_took_is_told_once_when_it_is_over() {
    let world = World::start();
    let house = House::new(&world);
    two_days_ago(&world, &house);
    for _ in 0..2 {
        let mut bot = house.bot(&world);
        let day = bot.wait_event("usage.day");
        assert_eq!(
            (&day["messages"], &day["calls"]),
            (&2.into(), &2.into()),
            "{day}"
        );
        for tokens in ["tokens_in", "tokens_out"] {
            assert!(day[tokens].as_u64() > Some(0), "{day}");
        }
        bot.stop().expect_code(0);
        let lines = events(&house.logs(), "bot");
        let told = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
        let counts = (told("usage.day"), told("usage.place"));
        assert_eq!(counts, (1, 2), "a restart doubles nothing");
        let places = lines.iter().filter(|line| line["event"] == "usage.place");
        let channels: Vec<u64> = places
            .map(|line| line["channel"].as_u64().unwrap())
            .collect();
        assert_eq!(
            channels,
            [0, world.general()],
            "direct messages name nobody"
        );
    }
    let usage = |arguments: &[&str]| {
        let launch = house.program("bot").args(arguments.iter().copied());
        launch.run().expect_code(0).stdout
    };
    let whole: serde_json::Value = serde_json::from_str(&usage(&["usage", "--json"])).unwrap();
    assert_eq!(whole["by_channel"].as_array().unwrap().len(), 2, "{whole}");
    let text = usage(&["usage"]);
    let channel = format!("channel {}", world.general());
    assert!(
        text.contains(&channel) && text.contains("1 messages"),
        "{text}"
    );
    world.finish();
}

#[test]
fn what_broke_off_is_paid_for_even_when_no_answer_came() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_MAX_RETRIES", "1")]);
    let hana = world.member("花");
    world.model(
        4,
        Act::ErrorAfter("とちゅうまでの言葉です。つづ".to_owned()),
    );
    let said = world.mention(hana, world.general(), "さいごまで聞きたい");
    let (how, _) = only_answer(&world, &house, said);
    assert_eq!(how, state::FAILED);
    let text = serde_json::json!([{"name": "text", "value": "これも"}]);
    let asked = world.command(hana, world.general(), "ask", &text);
    assert!(words(&world, asked).contains("すみません"));
    bot.stop().expect_code(0);
    let used: (i64, i64, i64) = house
        .look()
        .query_row(
            "SELECT sum(calls), sum(output_tokens), sum(messages) FROM usage_places",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert!(used.0 == 4 && used.1 > 0 && used.2 == 0, "{used:?}");
    world.finish();
}
