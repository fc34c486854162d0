//! The log shipper on a disk that is full. (Power cuts are in the chaos plan.)

use std::fs::{self, File};
use std::path::Path;

use tests::House;
use tests::disk::Disk;
use tests::house::NOBODY;

use crate::logs_life::lines;

/// A disk, or a loud word that there is none.
fn disk(mebibytes: u64) -> Option<Disk> {
    match Disk::new(mebibytes) {
        Ok(disk) => Some(disk),
        Err(why) => {
            tests::skipped(&format!(
                "no disks here, so full disks were not tested: {why:#}"
            ));
            None
        }
    }
}

/// What a writer does: write, sync, rename, sync the directory.
fn draft(logs: &Path, text: &str) {
    let path = logs.join("draft");
    fs::write(&path, text).unwrap();
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
}

fn close(logs: &Path, name: &str) {
    rustix::fs::rename(logs.join("draft"), logs.join(name)).unwrap();
    File::open(logs).unwrap().sync_all().unwrap();
}

#[test]
fn logs_a_full_disk_keeps_every_line_and_mends_itself() {
    let Some(disk) = disk(24) else { return };
    let house = House::alone();
    let logs = disk.directory("logs", NOBODY).unwrap();
    let launch = house
        .program("log-shipper")
        .env("LOG_DIR", &logs)
        .env("LOG_SWEEP_SECONDS", "1");
    let mut shipper = launch.start();
    shipper.wait_line("settings in force");
    shipper.poll("a page", |_| {
        logs.join("status.html").exists().then_some(())
    });
    let text = lines(0, 40_000);
    draft(&logs, &text);
    let filling = disk.fill().unwrap();
    close(&logs, "tester.20260301T000000.000Z.log");
    shipper.wait_line("could not be compressed");
    assert_eq!(
        fs::read_to_string(logs.join("tester.20260301T000000.000Z.log")).unwrap(),
        text
    );
    fs::remove_file(filling).unwrap();
    let packed = logs.join("tester.20260301T000000.000Z.log.zst");
    shipper.poll("the compressed segment", |_| {
        (packed.exists() && !logs.join("tester.20260301T000000.000Z.log").exists()).then_some(())
    });
    shipper.stop().expect_code(0);
    assert_eq!(
        zstd::decode_all(&*fs::read(packed).unwrap()).unwrap(),
        text.as_bytes()
    );
}
