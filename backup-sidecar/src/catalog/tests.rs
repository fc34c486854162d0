use super::*;

fn none(_: &Path) -> anyhow::Result<Manifest> {
    anyhow::bail!("not readable")
}

#[test]
fn names_are_read_and_written() {
    for text in [
        "backup_20261128_020000.tar.zst",
        "backup_20261128_020000.tar.zst.age",
        "backup_20261128_020000.damaged.tar.zst",
        "backup_20261128_020000.damaged.tar.zst.age",
    ] {
        let name: ArchiveName = text.parse().unwrap();
        assert_eq!(name.to_string(), text);
        assert_eq!(name.stem(), "backup_20261128_020000");
    }
    for text in [
        "backup_20261128_020000.tar.zst.partial",
        "backup_20261128_020000.tar.gz",
        "backup_20261328_020000.tar.zst",
        "backup_2026112_0200000.tar.zst",
        "backup_20261128_020000 (1).tar.zst",
        "xbackup_20261128_020000.tar.zst",
        "backup_20261128_020000.tar.zst.age.age",
        "backup_.tar.zst",
        "backup_２0261128_020000.tar.zst",
        "",
    ] {
        assert!(text.parse::<ArchiveName>().is_err(), "{text}");
    }
}

#[test]
fn foreign_files_are_not_archives() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "backup_20261128_020000.tar.zst",
        "backup_20261128_020000.tar.zst.partial",
        "photo.jpg",
        "catalog.json",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("backup_20261129_020000.tar.zst")).unwrap();
    let found = archives_in(dir.path()).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn a_taken_name_waits_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let taken: Timestamp = "2026-11-27T17:00:00.7Z".parse().unwrap();
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let (name, path) = free_name(dir.path(), taken, &zone, false, false);
    assert_eq!(name.to_string(), "backup_20261128_020000.tar.zst");
    fs::write(path, "x").unwrap();
    let (name, _) = free_name(dir.path(), taken, &zone, true, true);
    assert_eq!(
        name.to_string(),
        "backup_20261128_020001.damaged.tar.zst.age"
    );
}

#[test]
fn a_lost_catalogue_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let clear = "backup_20261128_020000.tar.zst";
    let sealed = "backup_20261128_030000.tar.zst.age";
    let torn = "backup_20261128_040000.tar.zst";
    for name in [clear, sealed, torn] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let read = |path: &Path| {
        if path.ends_with(clear) {
            Ok(crate::manifest::tests::sample())
        } else {
            none(path)
        }
    };
    let catalog = Catalog::load(dir.path(), &zone, read).unwrap();
    assert_eq!(catalog.archives[clear].rows(), 42);
    assert_eq!(
        catalog.archives[sealed].taken,
        "2026-11-27T18:00:00Z".parse().unwrap()
    );
    assert_eq!(catalog.archives[sealed].bad, None);
    assert!(catalog.archives[torn].bad.is_some());
    let latest = |now: &str| {
        let (latest, _) = catalog.latest(now.parse().unwrap()).unwrap();
        latest.to_string()
    };
    assert_eq!(latest("2026-11-28T00:00:00Z"), sealed);
    assert_eq!(latest("2026-11-27T16:30:00Z"), clear, "the other is ahead");
    assert_eq!(latest("2000-01-01T00:00:00Z"), sealed, "all are ahead");
    catalog.save(dir.path()).unwrap();
    let again = Catalog::load(dir.path(), &zone, none).unwrap();
    assert_eq!(again, catalog);
    // A file that went has no record; one that changed is looked at again.
    fs::remove_file(dir.path().join(sealed)).unwrap();
    fs::write(dir.path().join(clear), "longer").unwrap();
    let again = Catalog::load(dir.path(), &zone, none).unwrap();
    assert_eq!(again.archives.len(), 2);
    assert!(again.archives[clear].bad.is_some());
    fs::write(dir.path().join(FILE), "{ torn").unwrap();
    assert_eq!(
        Catalog::load(dir.path(), &zone, none)
            .unwrap()
            .archives
            .len(),
        2
    );
}

#[test]
fn a_catalogue_that_cannot_be_read_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    fs::write(&file, "{ torn").unwrap();
    let load = || Catalog::load(dir.path(), &TimeZone::UTC, none);
    for _ in 0..2 {
        load().unwrap();
    }
    load().unwrap().save(dir.path()).unwrap();
    load().unwrap();
    let kept: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| *path != file)
        .collect();
    let [kept] = &kept[..] else {
        panic!("{kept:?}");
    };
    assert!(kept.to_str().unwrap().contains("catalog.json.bad-"));
    assert_eq!(fs::read_to_string(kept).unwrap(), "{ torn");
    // The disk refuses: that is no empty catalogue.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(load().is_err());
}

#[test]
fn owners_name_archives_in_many_ways() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "backup_20261128_020000.tar.zst",
        "backup_20261129_020000.damaged.tar.zst",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let read = |_: &Path| Ok(crate::manifest::tests::sample());
    let catalog = Catalog::load(dir.path(), &TimeZone::UTC, read).unwrap();
    let now = "2026-11-29T12:00:00Z".parse().unwrap();
    for wanted in [
        "latest",
        "backup_20261128_020000",
        "backup_20261128_020000.tar.zst",
        "/app/backups/backup_20261128_020000.tar.zst",
    ] {
        let found = catalog.resolve(wanted, now).unwrap();
        assert_eq!(
            found.to_string(),
            "backup_20261128_020000.tar.zst",
            "{wanted}"
        );
    }
    assert!(
        catalog
            .resolve("backup_20261129_020000", now)
            .unwrap()
            .damaged
    );
    assert_eq!(catalog.resolve("backup_20261130_020000", now), None);
    assert_eq!(catalog.resolve("..", now), None);
}
