//! A disk that says "written" and keeps something else: whatever is read back before it counts is what saves the data.

use std::fs;
use std::path::Path;

use tests::archives::{archives, chat, rows};
use tests::house::Launch;
use tests::{Finished, House};

use crate::logs_model::strace_works;

/// Nothing is sealed to it but what these tests make.
const RECIPIENT: &str = "age1zwppn8mwtzz7fy63w6fkqxmjyp4cc7knqfxlrrgh37cyxutclcyqydf4qp";

/// Runs a program while the `number`-th write into `file` reaches the disk with other bytes than it was given.
fn lied_to(house: &House, launch: Launch, file: &Path, number: usize) -> Finished {
    let trace = house.path("tmp/trace");
    let lie = format!("inject=write:poke_enter=@arg2=a5a5a5a5:when={number}");
    let (file, told) = (file.display().to_string(), trace.display().to_string());
    let strace = ["strace", "-f", "-qq", "-o", &told, "-P", &file];
    let finished = launch
        .under(strace.into_iter().chain(["-e", "trace=write", "-e", &lie]))
        .run();
    let traced = fs::read_to_string(&trace).unwrap_or_default();
    assert!(traced.contains("(INJECTED"), "{lie} hit nothing: {traced}");
    finished
}

#[test]
fn a_backup_that_the_disk_changed_gets_no_name() {
    if !strace_works() {
        return;
    }
    let house = House::alone();
    chat(&house, 2_000);
    let backup = || {
        let launch = house.program("backup-sidecar").args(["backup"]);
        launch.env("BOT_LANGUAGE", "en")
    };
    for (name, recipient, number) in [
        ("archive", "", 1),
        ("archive", "", 2),
        // The head of the sealed file; a lie about more of it would also be hashed as it is being written.
        ("sealed", RECIPIENT, 1),
    ] {
        let partial = house.backups().join(format!(".scratch-{name}.partial"));
        let launch = backup().env("BACKUP_AGE_RECIPIENTS", recipient);
        lied_to(&house, launch, &partial, number).expect_code(1);
        assert!(archives(&house).is_empty(), "{name}, write {number}");
        assert!(!partial.exists(), "{name}, write {number}");
    }
    backup().run().expect_code(0);
    assert_eq!(
        (archives(&house).len(), rows(&house.database())),
        (1, 2_000)
    );
}

#[test]
fn logs_that_the_disk_changed_replace_nothing() {
    if !strace_works() {
        return;
    }
    let house = House::alone();
    let raw = "bot.20260301T000001.000Z.log";
    let lines = (0..600)
        .map(|number| format!("{{\"seq\":{number},\"pad\":\"{}\"}}\n", number * 7_919))
        .collect::<Vec<_>>();
    let text = lines.concat();
    house.write(&format!("logs/{raw}"), &text);
    house.settle();
    let packed = house.logs().join(format!("{raw}.zst"));
    let partial = house.logs().join(format!("{raw}.zst.partial"));
    let sweep = || house.program("log-shipper").args(["sweep"]);
    // The frame, then the index.
    for number in [1, 2] {
        lied_to(&house, sweep(), &partial, number).expect_code(1);
        let kept = fs::read_to_string(house.logs().join(raw)).unwrap();
        assert!(kept == text, "write {number}: the original changed");
        assert!(!packed.exists() && !partial.exists(), "write {number}");
    }
    sweep().run().expect_code(0);
    let unpacked = zstd::decode_all(fs::File::open(&packed).unwrap()).unwrap();
    assert!(unpacked == text.as_bytes());
    assert!(!house.logs().join(raw).exists());
}
