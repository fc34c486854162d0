use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::manifest::DatabaseEntry;
use crate::verify;

/// An archive of one file called like a database, whose rows nobody counts here.
fn manifest(files: Vec<FileEntry>) -> Manifest {
    let databases = files.iter().take(1).map(|file| DatabaseEntry {
        path: file.path.clone(),
        page_size: 1,
        pages: file.size,
        user_version: 0,
        integrity: "ok".into(),
        let_go: 0,
        tables: BTreeMap::new(),
    });
    Manifest {
        databases: databases.collect(),
        files,
        ..manifest::tests::sample()
    }
}

fn entry(path: &str, content: &[u8]) -> FileEntry {
    FileEntry {
        path: path.into(),
        size: content.len() as u64,
        sha256: hex(&Sha256::digest(content)),
    }
}

fn honest(dir: &TempDir, contents: &[(&str, Vec<u8>)]) -> (PathBuf, Manifest) {
    let path = dir.path().join("archive");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    let watch = Watch::command();
    let mut writer = Writer::begin(&mut file, 100_000, 3).unwrap();
    for (name, content) in contents {
        let source = dir.path().join("source");
        std::fs::write(&source, content).unwrap();
        writer
            .add(name, &mut File::open(&source).unwrap(), &watch)
            .unwrap();
    }
    let pending = writer.finish_files().unwrap();
    let manifest = manifest(pending.files.clone());
    pending.finish(&manifest).unwrap();
    (path, manifest)
}

/// One entry of a tar made by hand.
enum Part<'a> {
    File(&'a str, &'a [u8]),
    Kind(&'a str, tar::EntryType),
    Huge(&'a str, u64),
}

type Case<'a> = (&'a str, Vec<u8>, Vec<Part<'a>>, &'a [u8]);

fn forged(dir: &TempDir, manifest: &[u8], parts: &[Part<'_>], tail: &[u8]) -> PathBuf {
    let mut plain = Vec::new();
    let mut add = |name: &str, kind: tar::EntryType, size: u64, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        // `set_path` refuses what an attacker would write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        plain.extend_from_slice(header.as_bytes());
        plain.extend_from_slice(content);
        plain.resize(plain.len().div_ceil(TAR_BLOCK) * TAR_BLOCK, 0);
    };
    add(
        manifest::NAME,
        tar::EntryType::Regular,
        manifest.len() as u64,
        manifest,
    );
    for part in parts {
        match part {
            Part::File(name, content) => {
                add(name, tar::EntryType::Regular, content.len() as u64, content);
            }
            Part::Kind(name, kind) => add(name, *kind, 0, &[]),
            Part::Huge(name, size) => {
                add(name, tar::EntryType::GNULongName, *size, name.as_bytes());
            }
        }
    }
    plain.resize(plain.len() + 1024, 0);
    plain.extend_from_slice(tail);
    let path = dir.path().join("forged");
    std::fs::write(&path, zstd::encode_all(plain.as_slice(), 3).unwrap()).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    let error = verify::hashes(path, &Watch::command()).unwrap_err();
    format!("{error:#}")
}

#[test]
fn what_went_in_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("data/{}/{}", "x".repeat(90), "y".repeat(120));
    let contents = [
        ("data/sessions.db", vec![7_u8; 3_000_000]),
        ("data/empty", vec![]),
        (long.as_str(), b"long".to_vec()),
        ("logs/日本語.log", b"{}\n".to_vec()),
    ];
    let (path, manifest) = honest(&dir, &contents);
    assert_eq!(verify::hashes(&path, &Watch::command()).unwrap(), manifest);
    assert_eq!(manifest_of(&path, None).unwrap(), manifest);
    // A stock decoder sees one tar, whose first entry is the manifest.
    let plain = zstd::decode_all(File::open(&path).unwrap()).unwrap();
    let mut tar = tar::Archive::new(plain.as_slice());
    let names: Vec<_> = tar
        .entries()
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(
        names,
        [
            manifest::NAME,
            "data/sessions.db",
            "data/empty",
            &long,
            "logs/日本語.log"
        ]
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_read_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shrinks");
    std::fs::write(&path, vec![1; 100]).unwrap();
    let mut file = File::open(&path).unwrap();
    let watch = Watch::command();
    let mut reader = HashingReader {
        inner: &mut file,
        left: 150,
        hash: Sha256::new(),
        watch: &watch,
    };
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    assert_eq!(content.len(), 150);
    assert!(content[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_manifest_that_outgrows_its_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(dir.path().join("a"))
        .unwrap();
    let pending = Writer::begin(&mut file, 0, 3)
        .unwrap()
        .finish_files()
        .unwrap();
    let files = (0..500)
        .map(|at| entry(&format!("data/{at}"), at.to_string().as_bytes()))
        .collect();
    assert!(pending.finish(&manifest(files)).is_err());
}

#[test]
fn every_torn_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = honest(
        &dir,
        &[(
            "data/sessions.db",
            (0..400_000_u32).flat_map(u32::to_le_bytes).collect(),
        )],
    );
    let whole = std::fs::read(&path).unwrap();
    for keep in [
        0,
        1,
        100,
        511,
        whole.len() / 4,
        whole.len() / 2,
        whole.len() - 5,
        whole.len() - 1,
    ] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        refusal(&path);
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (path, manifest) = honest(
        &dir,
        &[(
            "data/sessions.db",
            (0..60_000_u32).flat_map(u32::to_le_bytes).collect(),
        )],
    );
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        // A flip in the padding between the frames changes nothing that is promised.
        if let Ok(read) = verify::hashes(&path, &Watch::command()) {
            assert_eq!(read, manifest, "byte {at}");
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of attacks")]
fn hostile_archives_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let good = b"content".as_slice();
    let promise = |path: &str| manifest(vec![entry(path, good)]).to_bytes().unwrap();
    let cases: [Case<'_>; 11] = [
        (
            "outside",
            promise("../../etc/passwd"),
            vec![Part::File("../../etc/passwd", good)],
            b"",
        ),
        (
            "outside",
            promise("/etc/passwd"),
            vec![Part::File("/etc/passwd", good)],
            b"",
        ),
        (
            "does not stay",
            promise("data/../../x"),
            vec![Part::File("data/../../x", good)],
            b"",
        ),
        (
            "no file",
            promise("data/x"),
            vec![Part::Kind("data/x", tar::EntryType::Symlink)],
            b"",
        ),
        (
            "no file",
            promise("data/x"),
            vec![Part::Kind("data/x", tar::EntryType::Link)],
            b"",
        ),
        (
            "no file",
            promise("data/x"),
            vec![Part::Kind("data/x", tar::EntryType::Char)],
            b"",
        ),
        (
            "does not name",
            promise("data/x"),
            vec![Part::File("data/x", good), Part::File("data/y", good)],
            b"",
        ),
        (
            "twice",
            promise("data/x"),
            vec![Part::File("data/x", good), Part::File("data/x", good)],
            b"",
        ),
        (
            "hash",
            promise("data/x"),
            vec![Part::File("data/x", b"CONTENT")],
            b"",
        ),
        ("missing", promise("data/x"), vec![], b""),
        (
            "too long",
            promise("data/x"),
            vec![Part::Huge("data/x", 1 << 33)],
            b"",
        ),
    ];
    for (reason, manifest, parts, tail) in cases {
        let told = refusal(&forged(&dir, &manifest, &parts, tail));
        assert!(told.contains(reason), "wanted {reason:?}, told {told:?}");
    }
    let told = refusal(&forged(
        &dir,
        &promise("data/x"),
        &[Part::File("data/x", good)],
        &vec![1; 3 << 20],
    ));
    assert!(told.contains("after its end"), "{told}");
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut bomb = manifest(vec![entry("data/x", b"")]);
    bomb.files[0].size = 1 << 50;
    let told = refusal(&forged(&dir, &bomb.to_bytes().unwrap(), &[], b""));
    assert!(told.contains("no honest archive"), "{told}");
    // A manifest that is a bomb itself is not read at all.
    let mut header = tar::Header::new_gnu();
    header.set_path(manifest::NAME).unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let path = dir.path().join("bomb");
    std::fs::write(
        &path,
        zstd::encode_all(header.as_bytes().as_slice(), 3).unwrap(),
    )
    .unwrap();
    let told = refusal(&path);
    assert!(told.contains("manifest is too large"), "{told}");
}

#[test]
fn a_foreign_file_is_no_archive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign");
    for content in [
        b"".to_vec(),
        b"PK\x03\x04 a zip".to_vec(),
        vec![0; 4096],
        zstd::encode_all(b"text".as_slice(), 1).unwrap(),
    ] {
        std::fs::write(&path, content).unwrap();
        refusal(&path);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(noise in prop::collection::vec(any::<u8>(), 0..3_000), compress in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noise");
        let bytes = if compress { zstd::encode_all(noise.as_slice(), 1).unwrap() } else { noise };
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(verify::hashes(&path, &Watch::command()).is_err());
    }
}
