//! Whatever a model does, a member gets an answer or one kind sentence, and nobody else waits.

use std::time::Duration;

use tests::world::Act;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{is_kind, only_answer, state};

/// Faults that pass: the same model is asked again.
fn passing() -> Vec<(&'static str, Act)> {
    vec![
        ("429 without retry-after", Act::Status(429)),
        ("429 with retry-after", Act::RetryAfter(0.2)),
        ("500", Act::Status(500)),
        ("502", Act::Status(502)),
        ("503", Act::Status(503)),
        ("529", Act::Status(529)),
        ("no byte", Act::Stall),
        (
            "a cut before a sentence was whole",
            Act::CutAfter("あ".to_owned()),
        ),
        ("an error in the middle", Act::ErrorAfter("い".to_owned())),
    ]
}

/// Faults that stay: asking again does not help.
fn lasting() -> Vec<(&'static str, Act)> {
    vec![
        ("400", Act::Status(400)),
        ("401", Act::Status(401)),
        ("404", Act::Status(404)),
        ("413", Act::Status(413)),
        ("a spend cap", Act::SpendCap),
        ("529 for ever", Act::Status(529)),
        ("nothing said", Act::Empty),
        ("a refusal", Act::Refuse),
        ("garbage", Act::Garbage),
        ("silence", Act::Stall),
        ("cut for ever", Act::CutAfter("う".to_owned())),
    ]
}

#[test]
fn faults_that_pass_end_in_an_answer() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_TIMEOUT_SECONDS", "1")]);
    for (number, (name, act)) in passing().into_iter().enumerate() {
        let token = format!("passing-{number}");
        let fits = token.clone();
        world.model_when(1, move |asked| asked.last().contains(&fits), act);
        let said = world.mention(world.member(name), world.general(), &token);
        let reply = world.answer(said, &echo(&token));
        let (how, only) = only_answer(&world, &house, said);
        assert_eq!((how, only.id), (state::ANSWERED, reply.id), "{name}");
    }
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn faults_that_stay_end_in_one_kind_note() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[("LLM_TIMEOUT_SECONDS", "1"), ("LLM_MAX_RETRIES", "1")],
    );
    for (number, (name, act)) in lasting().into_iter().enumerate() {
        let token = format!("lasting-{number}");
        let fits = token.clone();
        world.model_when(99, move |asked| asked.last().contains(&fits), act);
        let said = world.mention(world.member(name), world.general(), &token);
        // Somebody else is answered meanwhile.
        let other = world.mention(world.member("ほかの人"), world.general(), "元気");
        world.answer(other, &echo("元気"));
        let (how, note) = only_answer(&world, &house, said);
        let refused = matches!(name, "a refusal");
        assert!(how == state::FAILED || refused, "{name}: {how}");
        assert!(
            is_kind(&note.content) && !note.content.contains("こたえ"),
            "{name}: {}",
            note.content
        );
    }
    bot.stop().expect_code(0);
    let logs = house.all_logs();
    assert!(
        !logs.contains("lasting-") && !logs.contains("ほかの人"),
        "words or names in the log"
    );
    // What the owner is told is not looked at here.
    world.expect_all();
    world.finish();
}

#[test]
fn another_wording_is_not_waited_for_long_and_the_member_hears_meanwhile() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    // Nothing of it may be shown, and the other wording never comes.
    world.model(1, Act::Say("頑張って！".to_owned()));
    world.model(1, Act::Stall);
    let said = world.mention(world.member("花"), world.general(), "ながい一日だった");
    let holding = world.answer(said, "ちゃんと届いています");
    world.answer(said, "ちゃんと読みました。");
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, holding.id));
    assert_eq!(world.asked().len(), 2);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn the_next_model_answers_when_the_first_cannot() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[
            ("LLM_FALLBACK_MODEL", "openai/fallback-1,ollama/fallback-2"),
            ("LLM_TIMEOUT_SECONDS", "1"),
            ("LLM_MAX_RETRIES", "1"),
        ],
    );
    for (number, (name, act)) in lasting().into_iter().enumerate() {
        if matches!(act, Act::Refuse) {
            continue; // A refusal is an answer, not a failure.
        }
        let token = format!("chain-{number}");
        let fits = token.clone();
        world.model_when(
            99,
            move |asked| asked.provider == "anthropic" && asked.last().contains(&fits),
            act,
        );
        let said = world.mention(world.member(name), world.general(), &token);
        world.answer(said, &echo(&token));
    }
    // Down to the third, over a protocol of its own.
    world.model_when(99, |asked| asked.provider != "ollama", Act::Status(529));
    let said = world.mention(world.member("花"), world.general(), "三番目");
    world.answer(said, &echo("三番目"));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn every_provider_is_spoken_to_in_its_own_way() {
    let world = World::start();
    let house = House::new(&world);
    for (model, provider, path) in [
        (
            "anthropic/claude-haiku-4-5",
            "anthropic",
            "/anthropic/v1/messages",
        ),
        ("openai/gpt-5-mini", "openai", "/openai/v1/chat/completions"),
        (
            "gemini/gemini-3.5-flash",
            "gemini",
            "/gemini/v1beta/openai/chat/completions",
        ),
        ("ollama/llama3.2", "ollama", "/ollama/api/chat"),
    ] {
        let bot = house.bot_with(&world, &[("LLM_MODEL", model)]);
        let said = world.mention(world.member("花"), world.general(), provider);
        world.answer(said, &echo(provider));
        let asked = world.asked().pop().unwrap();
        assert_eq!(
            (asked.provider.as_str(), asked.path.as_str()),
            (provider, path)
        );
        let key = format!("canary-{provider}-key");
        assert_eq!(asked.key, if provider == "ollama" { "" } else { &key });
        bot.stop().expect_code(0);
    }
    world.finish();
}

#[test]
fn the_echo_needs_no_model_at_all() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[("LLM_MODEL", "echo/echo"), ("ANTHROPIC_API_KEY", "")],
    );
    let said = world.mention(world.member("花"), world.general(), "こだまですか");
    only_answer(&world, &house, said);
    bot.stop().expect_code(0);
    assert!(world.asked().is_empty());
    world.finish();
}

#[test]
fn a_slow_first_word_is_bridged_by_a_note_that_becomes_the_answer() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(1, Act::Hold(String::new(), "お待たせしました".to_owned()));
    let said = world.mention(world.member("花"), world.general(), "むずかしい質問");
    // Nothing but time brings this note; the bound of the wait is the only clock here.
    let note = world.expect("a holding note", |message| message.channel == said);
    assert!(is_kind(&note.content) && !note.content.contains("お待たせしました"));
    world.open_gate();
    let answer = world.answer(said, "お待たせしました");
    assert_eq!(answer.id, note.id, "the note is the reply");
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}

#[test]
fn retry_after_is_waited_out() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(1, Act::RetryAfter(1.0));
    let said = world.mention(world.member("花"), world.general(), "待って");
    world.answer(said, &echo("待って"));
    let asked = world.asked();
    assert!(
        asked[1].at - asked[0].at >= Duration::from_millis(950),
        "{:?}",
        asked[1].at - asked[0].at
    );
    bot.stop().expect_code(0);
    world.finish();
}
