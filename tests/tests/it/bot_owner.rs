//! What only the owner can mend is told to the owner, once, and never to members.

use tests::world::model::echo;
use tests::world::{BOT, Id, Kind, OWNER, State, permission};
use tests::{House, World};

use crate::story::{is_kind, only_answer, settled, state};

/// What the owner has been told so far.
fn told(world: &World) -> Vec<String> {
    world.with(|state| told_in(state))
}

fn told_in(state: &State) -> Vec<String> {
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
fn a_retired_judge_is_told_to_the_owner_where_it_is_listened() {
    let world = World::start();
    world.with(|state| state.model.retired.push("claude-opus-4-5".to_owned()));
    let general = world.general().to_string();
    let retired = ("EAVESDROP_JUDGE_MODEL", "anthropic/claude-opus-4-5");
    // Nobody is judged where nobody listens: then its end is nobody's trouble.
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[retired]);
    world.wait("the list of models", |state| {
        (state.model.lists > 0).then_some(())
    });
    let said = world.mention(world.member("花"), world.general(), "いつもの話");
    world.answer(said, &echo("いつもの話"));
    bot.stop().expect_code(0);
    assert!(told(&world).is_empty(), "{:?}", told(&world));
    let listening = ("EAVESDROP_ENABLED_CHANNELS", general.as_str());
    let bot = house.bot_with(&world, &[retired, listening]);
    let told_then = world.expect("a word to the owner", |message| {
        message.content.contains("claude-opus-4-5")
    });
    let text = told_then.content;
    assert!(text.contains("EAVESDROP_JUDGE_MODEL"), "{text}");
    assert!(!text.contains("LLM_MODEL"), "{text}");
    bot.stop().expect_code(0);
    world.expect_all();
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

/// Asks once, and says how the turn ended and what the answer says.
fn ask(world: &World, house: &House, who: Id, number: usize) -> (i64, String) {
    let words = format!("今月の{number}つめ");
    let said = world.mention(who, world.general(), &words);
    let (state, answer) = only_answer(world, house, said);
    (state, answer.content)
}

#[test]
fn the_months_money_lands_softly_and_a_restart_forgets_nothing_of_it() {
    const MOST: usize = 60;
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    // A stand-in on this machine costs nothing unless it is priced.
    let prices = "  anthropic/claude-haiku-4-5: {input: 1, output: 5}\n  openai/gpt-5-mini: {input: 0.1, output: 1}\n";
    house.write("config/kotonoha.yaml", format!("prices:\n{prices}"));
    // Some fifteen answers of the first model, none of them as much as a tenth; the last tenth goes to the cheaper one.
    let settings = [
        ("MONTHLY_BUDGET", "0.016"),
        ("LLM_MODEL", "anthropic/claude-haiku-4-5"),
        ("LLM_FALLBACK_MODEL", "openai/gpt-5-mini"),
        ("USER_RATE_LIMIT", "1000"),
        ("THREADS", "off"),
        ("STREAMING", "off"),
    ];
    let bot = house.bot_with(&world, &settings);
    let (answered, resting) = (0..MOST)
        .find_map(|number| {
            let (ended, words) = ask(&world, &house, hana, number);
            (ended == state::FAILED).then_some((number, words))
        })
        .expect("the month's money never ends");
    assert!(is_kind(&resting), "{resting}");
    let asked: Vec<String> = world.asked().into_iter().map(|one| one.provider).collect();
    assert_eq!(asked.len(), answered, "who rests asks no model");
    let dear = asked.iter().take_while(|one| *one == "anthropic").count();
    assert!(dear > 2 && dear < answered, "{asked:?}");
    assert!(asked[dear..].iter().all(|one| one == "openai"), "{asked:?}");
    world.wait("three words to the owner", |state| {
        (told_in(state).len() == 3).then_some(())
    });
    bot.stop().expect_code(0);
    let bot = house.bot_with(&world, &settings);
    let (ended, _) = ask(&world, &house, hana, MOST);
    assert_eq!(ended, state::FAILED);
    bot.stop().expect_code(0);
    assert_eq!(world.asked().len(), answered, "what was spent is spent");
    // The same causes on the same day, in another life: told once.
    assert_eq!(told(&world).len(), 3, "{:?}", told(&world));
    world.expect_all();
    world.finish();
}

#[test]
fn the_dead_mans_switch_is_pinged_only_while_discord_lets_us_in() {
    let world = World::start();
    let house = House::new(&world);
    let url = format!("{}/sink/ping/canary-switch", world.url());
    let file = house.write("secrets/ping", &url);
    let pings = || {
        world.with(|state| {
            let calls = state.sink.http.iter();
            calls
                .filter(|got| got.what == "GET /sink/ping/canary-switch")
                .count()
        })
    };
    // A gateway that lets nobody in at first: alive is not enough for a ping.
    world.with(|state| state.gateway.refuse = vec![4000; 2]);
    let file = file.display().to_string();
    let bot = house.bot_with(&world, &[("BOT_PING_URL_FILE", &file)]);
    let attempts = world.wait("a ping", |state| {
        (!state.sink.http.is_empty()).then_some(state.gateway.identifies)
    });
    assert!(
        attempts > 2,
        "pinged at attempt {attempts}, before anybody was let in"
    );
    assert!(pings() >= 1);
    bot.stop().expect_code(0);
    // The address is a secret: whoever has it can silence the alarm.
    assert!(!house.all_logs().contains("canary-switch"));
    world.finish();
}

#[test]
fn a_backup_that_cannot_be_made_reaches_the_owner_though_no_sidecar_has_a_network() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let said = world.mention(world.member("花"), world.general(), "覚えていてね");
    world.answer(said, &echo("覚えていてね"));
    let shipper = house
        .program("log-shipper")
        .env("LOG_SWEEP_SECONDS", "1")
        .start();
    // More room than there is: this backup can never begin.
    let mut sidecar = house
        .program("backup-sidecar")
        .env("BACKUP_MIN_FREE", "999999999")
        .env("BACKUP_SCHEDULE", "@every 10s")
        .start();
    sidecar.wait_event("backup.failed");
    let alarm = world.expect("a word to the owner", |message| {
        message.content.contains("バックアップ")
    });
    let home = world.with(|state| state.direct_with(OWNER));
    assert_eq!(alarm.channel, home);
    let alerts = house.logs().join("alerts");
    world.wait("the mark of the delivery", |_| {
        let names = std::fs::read_dir(&alerts).ok()?.filter_map(Result::ok);
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|name| name.ends_with(".delivered"))
    });
    sidecar.stop().expect_code(0);
    shipper.stop().expect_code(0);
    bot.stop().expect_code(0);
    assert!(!alarm.content.contains("覚えていてね"));
    world.expect_all();
    world.finish();
}
