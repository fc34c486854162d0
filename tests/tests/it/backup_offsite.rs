//! Copies off-site: a second volume, object storage, whole and in parts, outages, real servers.

use std::fs;

use tests::archives::{archives, chat, forge, list, rows};
use tests::s3::real::{ACCESS_KEY, SECRET_KEY, Server};
use tests::s3::{Storage, Upload};
use tests::{House, skipped};

use crate::backup_jobs::request;
use crate::backup_restore::sidecar;

/// The sidecar's settings for a bucket.
fn bucket(url: &str) -> [(&str, &str); 4] {
    [
        ("BACKUP_REMOTE_URL", "s3://bucket/home"),
        ("BACKUP_REMOTE_ENDPOINT", url),
        ("BACKUP_REMOTE_ACCESS_KEY", ACCESS_KEY),
        ("BACKUP_REMOTE_SECRET_KEY", SECRET_KEY),
    ]
}

fn all_are_off_site(house: &House) -> bool {
    let listed = list(house);
    let archives = listed["archives"].as_array().unwrap();
    archives
        .iter()
        .all(|archive| archive["offsite"].is_string())
}

#[test]
fn a_second_volume_gets_copies_and_gives_them_back() {
    let house = House::alone();
    chat(&house, 12);
    let volume = house.path("usb");
    let url = format!("file://{}", volume.display());
    let remote = [("BACKUP_REMOTE_URL", url.as_str())];
    // Not mounted: the local backup succeeds all the same.
    sidecar(&house, &["backup"], &remote).expect_code(0);
    assert!(list(&house)["archives"][0]["offsite"].is_null());
    fs::create_dir(&volume).unwrap();
    house.settle();
    sidecar(&house, &["backup"], &remote).expect_code(0);
    assert_eq!(
        fs::read_dir(&volume).unwrap().count(),
        2,
        "the one that missed its copy as well"
    );
    for name in archives(&house) {
        fs::remove_file(house.backups().join(name)).unwrap();
    }
    chat(&house, 1);
    sidecar(&house, &["restore"], &remote).expect_code(0);
    assert_eq!(rows(&house.database()), 12);
    assert_eq!(archives(&house).len(), 1, "fetched, proved and named");
}

#[test]
fn a_copy_that_a_clock_far_ahead_dated_costs_no_other_one_and_is_not_the_latest() {
    let house = House::alone();
    chat(&house, 12);
    let now = jiff::Timestamp::now();
    let copy = |day: i64| {
        let at = now + jiff::SignedDuration::from_hours(24 * day);
        format!("usb/backup_{}_020000.tar.zst", at.strftime("%Y%m%d"))
    };
    for day in (-20..0).chain([365]) {
        house.write(&copy(day), "a copy");
    }
    let url = format!("file://{}", house.path("usb").display());
    let remote = [("BACKUP_REMOTE_URL", url.as_str())];
    sidecar(&house, &["backup"], &remote).expect_code(0);
    let copies = fs::read_dir(house.path("usb")).unwrap().count();
    assert_eq!(copies, 20 + 1 + 1);
    for name in archives(&house) {
        fs::remove_file(house.backups().join(name)).unwrap();
    }
    chat(&house, 1);
    sidecar(&house, &["restore"], &remote).expect_code(0);
    assert_eq!(rows(&house.database()), 12);
}

#[test]
fn object_storage_gets_proved_copies_and_an_outage_is_made_up_for() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 12);
    let remote = bucket(&storage.url);
    storage.with(|state| state.refuse = Some(503));
    sidecar(&house, &["backup"], &remote).expect_code(0);
    storage.with(|state| state.refuse = None);
    // What cannot be read back whole is not called copied.
    storage.with(|state| state.truncate = true);
    sidecar(&house, &["backup"], &remote).expect_code(0);
    assert!(
        list(&house)["archives"]
            .as_array()
            .unwrap()
            .iter()
            .all(|archive| archive["offsite"].is_null())
    );
    storage.with(|state| state.truncate = false);
    sidecar(&house, &["backup"], &remote).expect_code(0);
    let copied = storage.with(|state| state.objects.len());
    assert_eq!(copied, 3);
    assert!(all_are_off_site(&house));
    // The house burned down: another one, with the same storage.
    let other = House::alone();
    sidecar(&other, &["restore"], &remote).expect_code(0);
    assert_eq!(rows(&other.database()), 12);
}

/// Rows that make an archive of three parts: what is random does not compress.
const THREE_PARTS: i64 = 46_000;

#[test]
fn a_large_archive_goes_in_parts_and_an_outage_costs_one_part() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, THREE_PARTS);
    let remote = bucket(&storage.url);
    let puts = || {
        storage.with(|state| {
            let all = state.requests.iter();
            all.filter(|line| line.starts_with("PUT ")).count()
        })
    };
    storage.with(|state| state.parts_until_outage = Some(1));
    sidecar(&house, &["backup"], &remote).expect_code(0);
    assert!(!all_are_off_site(&house));
    assert_eq!(puts(), 2, "one part stands, the next was refused");
    storage.with(|state| state.parts_until_outage = None);
    // Nothing is begun anew: the second run goes on where the first ended.
    let second = sidecar(&house, &["backup"], &remote).expect_code(0);
    assert!(all_are_off_site(&house), "{}", second.stderr);
    assert_eq!(
        puts(),
        2 + 2 + 3,
        "two more parts, and three of the new one"
    );
    storage.with(|state| {
        assert!(state.uploads.is_empty());
        for (path, object) in &state.objects {
            let name = path.rsplit('/').next().unwrap();
            assert!(
                *object == fs::read(house.backups().join(name)).unwrap(),
                "{name}"
            );
        }
    });
    let other = House::alone();
    let first = archives(&house).remove(0);
    sidecar(&other, &["restore", &first], &remote).expect_code(0);
    assert_eq!(rows(&other.database()), THREE_PARTS);
}

#[test]
fn a_request_does_not_wait_for_a_slow_upload_which_goes_on_afterwards() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, THREE_PARTS);
    // Slow enough for minutes.
    storage.with(|state| state.kib_a_second = Some(100));
    let mut launch = house.program("backup-sidecar");
    for (name, value) in bucket(&storage.url) {
        launch = launch.env(name, value);
    }
    let mut sidecar = launch.start();
    sidecar.poll("the upload to begin", |_| {
        storage.with(|state| (!state.uploads.is_empty()).then_some(()))
    });
    let name = archives(&house).remove(0).replace(".tar.zst", "");
    let (is_done, report) = request(&house, &mut sidecar, &format!("extract-{name}"));
    assert!(is_done, "{report}");
    assert!(!all_are_off_site(&house));
    storage.with(|state| state.kib_a_second = None);
    sidecar.wait_event("offsite.done");
    assert!(all_are_off_site(&house));
    sidecar.stop().expect_code(0);
    assert!(storage.with(|state| state.uploads.is_empty()));
}

#[test]
fn parts_that_nobody_goes_on_with_are_removed() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, THREE_PARTS);
    let remote = bucket(&storage.url);
    storage.with(|state| state.parts_until_outage = Some(1));
    sidecar(&house, &["backup"], &remote).expect_code(0);
    storage.with(|state| {
        assert_eq!(state.uploads.len(), 1);
        state.parts_until_outage = None;
        for (id, key) in [
            ("old", "home/backup_20200101_020000.tar.zst"),
            ("foreign", "home/holiday.mp4"),
        ] {
            let upload = Upload {
                path: format!("/bucket/{key}"),
                begun: "2020-01-01T02:00:00Z".to_owned(),
                ..Upload::default()
            };
            state.uploads.insert(id.to_owned(), upload);
        }
    });
    // The archive whose upload had begun is gone: nobody will ever go on with it.
    fs::remove_file(house.backups().join(archives(&house).remove(0))).unwrap();
    chat(&house, 5);
    sidecar(&house, &["backup"], &remote).expect_code(0);
    storage.with(|state| {
        let left: Vec<&String> = state.uploads.keys().collect();
        assert_eq!(left, ["foreign"], "other people's uploads are theirs");
    });
}

#[test]
fn the_resident_tells_the_end_of_a_backup_before_it_copies_and_looks_after_its_copies() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 12);
    let ping = format!("{}/ping/home", storage.url);
    let start = || {
        let mut launch = house
            .program("backup-sidecar")
            .env("BACKUP_PING_URL", &ping);
        for (name, value) in bucket(&storage.url) {
            launch = launch.env(name, value);
        }
        launch.start()
    };
    let mut sidecar = start();
    sidecar.wait_event("offsite.done");
    assert!(all_are_off_site(&house));
    let requests = storage.with(|state| state.requests.clone());
    let at = |start: &str| requests.iter().position(|line| line.starts_with(start));
    assert!(at("GET /ping/home") < at("PUT "), "{requests:?}");
    sidecar.stop().expect_code(0);
    // Somebody emptied the bucket: the next start finds out, though the catalogue says otherwise.
    storage.with(|state| state.objects.clear());
    let mut sidecar = start();
    sidecar.poll("the copy to be made again", |_| {
        storage.with(|state| (state.objects.len() == 1).then_some(()))
    });
    sidecar.stop().expect_code(0);
}

#[test]
fn a_sealed_copy_is_fetched_only_by_who_can_open_it_and_none_without_room() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 12);
    let remote = bucket(&storage.url);
    sidecar(&house, &["backup"], &remote).expect_code(0);
    let name = archives(&house).remove(0);
    let other = House::alone();
    let mut narrow = remote.to_vec();
    narrow.push(("BACKUP_MIN_FREE", "900000000"));
    let refused = sidecar(&other, &["restore"], &narrow).expect_code(1);
    assert!(refused.stderr.contains("MB are free"), "{}", refused.stderr);
    storage.with(|state| {
        let object = state
            .objects
            .remove(&format!("/bucket/home/{name}"))
            .unwrap();
        let sealed = format!("/bucket/home/{name}.age");
        state.objects.insert(sealed, object);
        state.requests.clear();
    });
    let refused = sidecar(&other, &["restore"], &remote).expect_code(1);
    let word = "BACKUP_AGE_IDENTITY_FILE";
    assert!(refused.stderr.contains(word), "{}", refused.stderr);
    let fetched = storage.with(|state| state.requests.iter().any(|line| line.contains(".age")));
    assert!(
        !fetched && archives(&other).is_empty(),
        "nothing was sent for"
    );
}

#[test]
fn a_copy_that_rotted_is_sent_again() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 12);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    let name = archives(&house).remove(0);
    let mut bytes = fs::read(house.backups().join(&name)).unwrap();
    bytes[100] ^= 1;
    let key = format!("/bucket/home/{name}");
    storage.with(|state| state.objects.insert(key, bytes));
    sidecar(&house, &["backup"], &bucket(&storage.url)).expect_code(0);
    assert!(all_are_off_site(&house));
}

/// What every storage must do: take a large archive in parts and a small one whole, give them back, let the old go.
fn serves(server: &Server) {
    let house = House::alone();
    let remote = bucket(&server.url);
    let patient: Vec<(&str, &str)> = remote
        .into_iter()
        .chain([
            ("BACKUP_RETENTION_DAYS", "36500"),
            ("BACKUP_KEEP_LAST", "1"),
        ])
        .collect();
    forge(
        &house,
        "backup_20200101_020000.tar.zst",
        "2020-01-01T02:00:00Z",
        7,
    );
    chat(&house, THREE_PARTS);
    let first = sidecar(&house, &["backup"], &patient).expect_code(0);
    assert!(all_are_off_site(&house), "{}", first.stderr);
    chat(&house, THREE_PARTS - 9_000);
    let second = sidecar(&house, &["backup"], &patient).expect_code(0);
    // After years without a copy the old one stays until the new one does not stand alone; then it is no copy any more.
    let listed = list(&house);
    for archive in listed["archives"].as_array().unwrap() {
        let is_old = archive["name"].as_str().unwrap().contains("2020");
        assert_eq!(archive["offsite"].is_null(), is_old, "{}", second.stderr);
    }
    assert!(
        second.stderr.contains("old copies removed"),
        "{}",
        second.stderr
    );
    let other = House::alone();
    sidecar(&other, &["restore"], &remote).expect_code(0);
    assert_eq!(rows(&other.database()), THREE_PARTS - 9_000);
    let old = sidecar(&other, &["restore", "backup_20200101_020000"], &remote).expect_code(1);
    assert!(old.stderr.contains("no archive"), "{}", old.stderr);
}

#[test]
fn a_server_that_checks_every_signature_is_served() {
    let server = match Server::s3s() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    serves(&server);
    let house = House::alone();
    chat(&house, 5);
    let mut remote = bucket(&server.url);
    remote[3].1 = "canary-wrong";
    let told = sidecar(&house, &["backup"], &remote).expect_code(0);
    assert!(!all_are_off_site(&house));
    assert!(told.stderr.contains("403"), "{}", told.stderr);
    assert!(!told.stderr.contains("canary"), "{}", told.stderr);
}

#[test]
fn a_server_with_all_of_s3_is_served_and_keeps_no_parts() {
    let server = match Server::moto() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    serves(&server);
    let uploads = server.ask("GET", "/bucket?uploads");
    assert!(!uploads.contains("<Upload>"), "{uploads}");
}
