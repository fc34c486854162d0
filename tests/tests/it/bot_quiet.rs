//! Canary strings in messages, names, keys and tokens: none may appear where people or programs could read them.

use tests::house::walk;
use tests::world::{Act, TOKEN};
use tests::{House, World};

use crate::story::settled;

const CANARIES: [&str; 7] = [
    "canary-word",
    "canary-name",
    "canary-channel",
    "canary-answer",
    "canary-anthropic-key",
    "canary-openai-key",
    "canary-token",
];

#[test]
fn no_word_name_or_key_is_in_a_log_a_report_or_an_error() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[
            ("LOG_LEVEL", "DEBUG"),
            ("LLM_MAX_RETRIES", "0"),
            ("LLM_FALLBACK_MODEL", "openai/fallback-1"),
        ],
    );
    let who = world.member("canary-name");
    let room = world.channel("canary-channel");
    world.model(1, Act::Say("canary-answer".to_owned()));
    let said = world.mention(who, room, "canary-word");
    world.answer(said, "canary-answer");
    for act in [
        Act::Status(400),
        Act::Status(401),
        Act::Status(500),
        Act::Garbage,
        Act::CutAfter("canary-answer".to_owned()),
        Act::ErrorAfter("canary-answer".to_owned()),
    ] {
        world.with(|state| state.model.heal());
        world.model(9, act);
        let said = world.mention(who, room, "canary-word");
        settled(&house, said);
    }
    world.fault(
        "POST /channels/*/messages",
        tests::world::RestAct::Refuse(500, 0),
        2,
    );
    let said = world.mention(who, room, "canary-word");
    settled(&house, said);
    let doctor = house.program("bot").args(["doctor", "--json"]).run();
    let shown = house
        .program("bot")
        .args(["print-config"])
        .run()
        .expect_code(0);
    let ended = bot.stop().expect_code(0);
    let mut seen = house.all_logs();
    for text in [
        doctor.stdout,
        doctor.stderr,
        shown.stdout,
        shown.stderr,
        ended.stdout,
        ended.stderr,
    ] {
        seen.push_str(&text);
    }
    for path in walk(&house.path("tmp")) {
        seen.push_str(&std::fs::read_to_string(path).unwrap_or_default());
    }
    for canary in CANARIES.iter().chain([&TOKEN, &"SECRET-RAW-ERROR"]) {
        assert!(
            !seen.contains(canary),
            "{canary} in: {}",
            seen.lines()
                .find(|line| line.contains(canary))
                .unwrap_or_default()
        );
    }
    // Members never see a raw error or a key either.
    for message in world.spoken() {
        assert!(
            !message.content.contains("SECRET-RAW-ERROR") && !message.content.contains("-key"),
            "{}",
            message.content
        );
    }
    world.expect_all();
    world.finish();
}

#[test]
fn five_mistakes_are_told_at_once_before_anything_is_opened() {
    let world = World::start();
    let house = House::new(&world);
    let mut launch = house
        .program("bot")
        .without("DISCORD_TOKEN")
        .env("LLM_MODEL", "nobody")
        .env("LLM_TEMPERATURE", "hot")
        .env("THREAD_AUTO_ARCHIVE_DURATION", "soon")
        .env("STREAMING", "perhaps");
    let names = [
        "DISCORD_TOKEN",
        "LLM_MODEL",
        "LLM_TEMPERATURE",
        "THREAD_AUTO_ARCHIVE_DURATION",
        "STREAMING",
    ];
    launch = launch.args(["run"]);
    let ended = launch.run().expect_code(78);
    let said = ended.stdout + &ended.stderr;
    for name in names {
        assert!(said.contains(name), "{name} is missing in {said}");
    }
    assert!(walk(&house.data()).is_empty(), "a file was opened");
    assert!(world.with(|state| state.rest.calls.is_empty()));
    world.finish();
}

#[test]
fn secrets_can_come_from_files() {
    let world = World::start();
    let house = House::new(&world);
    let token = house.write("secrets/discord_token", format!("\u{feff}{TOKEN}\r\n"));
    let key = house.write("secrets/anthropic_api_key", "canary-anthropic-key\n");
    let bot = house
        .program("bot")
        .without("DISCORD_TOKEN")
        .without("ANTHROPIC_API_KEY")
        .env("DISCORD_TOKEN_FILE", token)
        .env("ANTHROPIC_API_KEY_FILE", key)
        .start();
    world.connected();
    let said = world.mention(world.member("花"), world.general(), "鍵はファイルから");
    world.answer(said, "鍵はファイルから");
    assert_eq!(world.asked()[0].key, "canary-anthropic-key");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn nobody_is_called_but_discord_and_the_model() {
    let world = World::start();
    let house = House::new(&world);
    let trace = house.path("tmp/connects");
    let words = ["strace", "-D", "-f", "-qq", "-e", "trace=connect", "-o"];
    let strace = words
        .map(str::to_owned)
        .into_iter()
        .chain([trace.display().to_string()]);
    let can = std::process::Command::new("strace")
        .args(["-qq", "true"])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        tests::skipped("strace is not here, so nobody saw whom the bot calls");
        world.finish();
        return;
    }
    let bot = house.program("bot").under(strace).start();
    world.connected();
    let said = world.mention(world.member("花"), world.general(), "誰に聞くの");
    world.answer(said, &tests::world::model::echo("誰に聞くの"));
    bot.stop();
    let calls = std::fs::read_to_string(&trace).unwrap();
    let port = world.url().rsplit(':').next().unwrap().to_owned();
    let (ours, others): (Vec<&str>, Vec<&str>) = calls
        .lines()
        .filter(|line| line.contains("AF_INET"))
        .partition(|line| line.contains(&format!("htons({port})")) && line.contains("127.0.0.1"));
    assert!(!ours.is_empty(), "{calls}");
    assert!(others.is_empty(), "somebody else was called: {others:#?}");
    world.finish();
}
