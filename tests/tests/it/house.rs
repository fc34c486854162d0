//! The whole house at once: message in, answer out, backup made and verified, log compressed, searched.

use std::thread;
use std::time::{Duration, Instant};

use tests::house::walk;
use tests::world::model::echo;
use tests::{House, PATIENCE, World};

fn wait_for_file(directory: &std::path::Path, start: &str, end: &str) -> std::path::PathBuf {
    let until = Instant::now() + PATIENCE;
    loop {
        let fits = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(start) && name.ends_with(end)
        };
        if let Some(found) = walk(directory).into_iter().find(fits) {
            return found;
        }
        assert!(
            Instant::now() < until,
            "no {start}…{end} in {}",
            directory.display()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_house_answers_backs_up_and_keeps_its_logs() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot(&world);
    let said = world.mention(hana, world.general(), "覚えておいて");
    world.answer(said, &echo("覚えておいて"));
    bot.stop().expect_code(0);
    // A new start closes the old segment.
    let bot = house.bot(&world);
    let sidecar = house.program("backup-sidecar").start();
    let shipper = house.program("log-shipper").start();
    wait_for_file(&house.backups(), "backup_", ".tar.zst");
    wait_for_file(&house.logs(), "bot.", ".log.zst");
    // The bot does not notice its neighbours.
    let next = world.say(hana, said, "まだいる");
    world.answer(next, &echo("まだいる"));
    for program in [bot, sidecar, shipper] {
        program.stop().expect_code(0);
    }
    house
        .program("backup-sidecar")
        .args(["verify"])
        .run()
        .expect_code(0);
    let beside = house.path("tmp/beside");
    house
        .program("backup-sidecar")
        .args(["restore", "latest", "--to"])
        .args([beside.as_os_str()])
        .run()
        .expect_code(0);
    let copy = walk(&beside)
        .into_iter()
        .find(|path| path.ends_with("sessions.db"))
        .unwrap();
    let copy = rusqlite::Connection::open(copy).unwrap();
    let found: i64 = copy
        .query_row(
            "SELECT count(*) FROM messages WHERE text = '覚えておいて'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(found, 1);
    let hits = house
        .program("log-shipper")
        .args(["search", "--service", "bot", "-c", "."])
        .run()
        .expect_code(0);
    assert!(
        hits.stdout.trim().parse::<usize>().unwrap() > 0,
        "{}",
        hits.stdout
    );
    assert!(!house.all_logs().contains("覚えて"));
    world.finish();
}
