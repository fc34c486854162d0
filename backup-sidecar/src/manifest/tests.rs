use proptest::prelude::*;

use super::*;

pub(crate) fn sample() -> Manifest {
    Manifest {
        format: FORMAT,
        created_utc: "2026-11-27T17:00:00Z".parse().unwrap(),
        created_local: "2026-11-28T02:00:00+09:00[Asia/Tokyo]".into(),
        reason: Cause::Schedule,
        tool: "kotonoha backup-sidecar 0.1.0".into(),
        sqlite: "3.53.2".into(),
        files: vec![FileEntry {
            path: "data/sessions.db".into(),
            size: 8192,
            sha256: "a".repeat(64),
        }],
        databases: vec![DatabaseEntry {
            path: "data/sessions.db".into(),
            page_size: 4096,
            pages: 2,
            user_version: 3,
            integrity: "ok".into(),
            let_go: 0,
            tables: BTreeMap::from([("messages".into(), 41), ("turns".into(), 1)]),
        }],
        notes: Vec::new(),
    }
}

#[test]
fn what_is_written_is_read() {
    let manifest = sample();
    let read = Manifest::parse(&manifest.to_bytes().unwrap()).unwrap();
    assert_eq!(read, manifest);
    assert_eq!(read.total_rows(), 42);
    assert_eq!(read.total_bytes(), 8192);
    assert!(read.is_sound());
}

#[test]
fn a_newer_format_is_named() {
    let mut manifest = sample();
    manifest.format = 9;
    let error = Manifest::parse(&manifest.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("its format is 9"), "{error}");
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let broken: [fn(&mut Manifest); 6] = [
        |manifest| manifest.databases.clear(),
        |manifest| manifest.files.clear(),
        |manifest| manifest.files.push(manifest.files[0].clone()),
        |manifest| manifest.databases.push(manifest.databases[0].clone()),
        |manifest| manifest.files[0].sha256 = "beef".into(),
        |manifest| {
            let mut below = manifest.files[0].clone();
            below.path = "data/sessions.db/x".into();
            manifest.files.push(below);
        },
    ];
    for (at, damage) in broken.iter().enumerate() {
        let mut manifest = sample();
        damage(&mut manifest);
        assert!(
            Manifest::parse(&manifest.to_bytes().unwrap()).is_err(),
            "case {at}"
        );
    }
}

#[test]
fn paths_that_leave_are_refused() {
    for path in [
        "",
        "/",
        "/etc/passwd",
        "data",
        "data/",
        "data//x",
        "data/../x",
        "data/./x",
        "data/x/..",
        "../data/x",
        "etc/x",
        "data\\..\\x",
        "data/a\0b",
        "MANIFEST.json",
        "C:/x",
    ] {
        assert!(check_path(path).is_err(), "{path:?}");
    }
    assert!(check_path(&format!("data/{}", "x".repeat(256))).is_err());
    for path in [
        "data/sessions.db",
        "logs/bot.log",
        "config/a/b.yaml",
        "data/日本語 file",
        "data/..x",
    ] {
        check_path(path).unwrap();
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn an_accepted_path_stays_inside(path in "(data|logs|config|etc|\\.\\.|)(/[a-z.\\\\]{0,4}){0,4}") {
        if check_path(&path).is_ok() {
            let joined = std::path::Path::new("/room").join(&path);
            prop_assert!(joined.starts_with("/room"));
            prop_assert!(joined.components().all(|part| part != std::path::Component::ParentDir));
        }
    }
}
