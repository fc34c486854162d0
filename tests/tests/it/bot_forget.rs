//! Forgetting, with the real backup sidecar: what is said about old archives is true, and a restore brings nothing back.

use std::fs;

use serde_json::json;
use tests::house::walk;
use tests::world::Id;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{files, settled, stored, words};

const GONE: &str = "canary-gone";

fn has(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

/// An archive as it is below its compression: the pages of the database are in it as they are.
fn opened(house: &House, name: &str) -> Vec<u8> {
    let bytes = fs::read(house.backups().join(name)).unwrap();
    zstd::decode_all(&*bytes).unwrap()
}

/// Two members talk, the real sidecar keeps it, and one of them asks to be forgotten: the archive from before.
fn forgotten_after_a_backup(world: &World, house: &House, hana: Id) -> String {
    let bot = house.bot(world);
    for (who, text) in [(hana, GONE), (world.member("太郎"), "canary-stays")] {
        let said = world.mention(who, world.general(), text);
        world.answer(said, text);
        settled(house, said);
    }
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event("backup.done");
    let facts = house.path("logs/backup-facts.json");
    sidecar.poll("what the sidecar says of itself", |_| {
        facts.exists().then_some(())
    });
    let place = json!([{"name": "where", "type": 3, "value": "everywhere"}]);
    let asked = world.command(hana, world.general(), "forget", &place);
    words(world, asked);
    let gone = words(world, world.press_quietly(hana, asked, "forget:everywhere"));
    assert!(gone.contains("忘れました (メッセージ 2 件)"), "{gone}");
    for part in ["遅くとも", "最後の 3 個", "もう一度忘れます"] {
        assert!(gone.contains(part), "{part} is not in {gone}");
    }
    bot.stop().expect_code(0);
    sidecar.stop().expect_code(0);
    tests::archives::archives(house).pop().unwrap()
}

#[test]
fn a_restore_of_an_older_archive_brings_no_forgotten_word_back() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let older = forgotten_after_a_backup(&world, &house, hana);
    assert!(has(&opened(&house, &older), GONE), "it holds the words");
    let sidecar = |arguments: &[&str]| {
        let launch = house.program("backup-sidecar");
        launch.args(arguments.iter().copied()).run().expect_code(0);
    };
    sidecar(&["restore", &older]);
    assert!(
        stored(&house, "%canary-gone%") > 0,
        "the restore brought them back"
    );
    let bot = house.bot(&world);
    world.wait("the words to be forgotten again", |_| {
        (stored(&house, "%canary-gone%") == 0).then_some(())
    });
    let next = world.mention(hana, world.general(), "なにか覚えてる");
    world.answer(next, &echo("なにか覚えてる"));
    settled(&house, next);
    let prompt = world.asked().pop().unwrap().raw;
    assert!(!prompt.contains(GONE), "in a prompt: {prompt}");
    let mine = world.command(hana, world.general(), "mydata", &json!([]));
    words(&world, mine);
    assert!(!files(&world, mine).contains(GONE));
    sidecar(&["backup"]);
    bot.stop().expect_code(0);

    let newer = tests::archives::archives(&house).pop().unwrap();
    assert_ne!(newer, older);
    let inside = opened(&house, &newer);
    assert!(!has(&inside, GONE), "in an archive made afterwards");
    assert!(has(&inside, "canary-stays"), "nobody else's words went");
    for path in walk(&house.data()).into_iter().chain(walk(&house.logs())) {
        let bytes = fs::read(&path).unwrap();
        assert!(!has(&bytes, GONE), "in {}", path.display());
    }
    assert!(!house.all_logs().contains(GONE), "in a compressed log");
    world.expect_all();
    world.finish();
}

#[test]
fn without_a_word_of_the_sidecars_no_date_is_promised() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let place = json!([{"name": "where", "type": 3, "value": "here"}]);
    let forgotten = |world: &World| {
        let asked = world.command(hana, world.general(), "forget", &place);
        words(world, asked);
        words(world, world.press_quietly(hana, asked, "forget:here"))
    };
    let unknown = forgotten(&world);
    assert!(
        unknown.contains("わたしには分かりません") && !unknown.contains("遅くとも"),
        "{unknown}"
    );
    // While deletion is frozen there is no date either.
    let now = "2026-11-28T00:00:00Z";
    house.write(
        "logs/backup-facts.json",
        json!({"v": 1, "at": now, "days": 8, "floor": 3, "scheduled": true, "frozen": true, "remote_days": 31}).to_string(),
    );
    let frozen = forgotten(&world);
    assert!(
        frozen.contains("期限は言えません") && frozen.contains("別の場所への写し"),
        "{frozen}"
    );
    bot.stop().expect_code(0);
    world.finish();
}
