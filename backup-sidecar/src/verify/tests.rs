use super::*;
use crate::archive::Writer;

/// A database of another program: it has words indexed in an order, by a function and under a rule that only that
/// program knows. SQLite itself would not make it, so its schema is written by hand.
pub(crate) fn foreign(dir: &Path) -> PathBuf {
    let path = dir.join("foreign.db");
    let connection = Connection::open(&path).unwrap();
    let made = "CREATE TABLE words (n INTEGER PRIMARY KEY, word TEXT, CHECK (abs(n) > 0));
                CREATE TABLE plain (n);
                CREATE TABLE ordered (word TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
                CREATE INDEX by_order ON words (word COLLATE NOCASE);
                CREATE INDEX by_shape ON words (upper(word));
                WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500)
                INSERT INTO words SELECT n, 'word ' || n FROM c;
                INSERT INTO plain VALUES (1), (2);
                INSERT INTO ordered VALUES ('a');
                PRAGMA writable_schema = ON;
                UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
                    'NOCASE', 'house'), 'upper(', 'shape('), 'abs(', 'rule(');
                PRAGMA writable_schema = RESET";
    connection.execute_batch(made).unwrap();
    connection.close().unwrap();
    path
}

#[test]
fn what_only_another_program_knows_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = foreign(dir.path());
    let (entry, unchecked) = look(&path, "data/foreign.db").unwrap();
    assert!(entry.is_sound(), "{}", entry.integrity);
    let rows = [("plain".to_owned(), 2), ("words".to_owned(), 500)];
    assert_eq!(entry.tables, BTreeMap::from(rows));
    let unchecked = unchecked.unwrap();
    assert!(unchecked.starts_with("data/foreign.db: "), "{unchecked}");
    compare(&path, &entry).unwrap();
}

#[test]
fn damage_is_found_where_not_everything_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = foreign(dir.path());
    let whole = fs::read(&path).unwrap();
    for page in 2..whole.len() / 4_096 {
        let mut bytes = whole.clone();
        bytes[page * 4_096..(page + 1) * 4_096].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        let entry = examine(&path, "data/foreign.db").unwrap();
        assert!(!entry.is_sound(), "page {page}");
    }
}

#[test]
fn what_sqlite_knows_is_checked_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.db");
    let connection = Connection::open(&path).unwrap();
    // Its index lies in another order than its schema says.
    let made = "CREATE TABLE a (word); CREATE INDEX b ON a (word COLLATE NOCASE);
                INSERT INTO a VALUES ('a'), ('B'), ('c');
                PRAGMA writable_schema = ON;
                UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'BINARY');
                PRAGMA writable_schema = RESET";
    connection.execute_batch(made).unwrap();
    connection.close().unwrap();
    let (entry, unchecked) = look(&path, "data/own.db").unwrap();
    assert!(entry.integrity.contains("index b"), "{}", entry.integrity);
    assert_eq!(unchecked, None);
}

#[test]
fn what_stands_in_our_own_way_is_no_fault_of_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (path, watch) = (dir.path().join("archive"), Watch::command());
    let database = dir.path().join("a.db");
    Connection::open(&database)
        .and_then(|connection| connection.execute_batch("CREATE TABLE a (n)"))
        .unwrap();
    let mut file = File::create(&path).unwrap();
    let mut writer = Writer::begin(&mut file, 100_000, 3).unwrap();
    let mut source = File::open(&database).unwrap();
    writer.add("data/a.db", &mut source, &watch).unwrap();
    let pending = writer.finish_files().unwrap();
    let mut manifest = manifest::tests::sample();
    manifest.databases = vec![examine(&database, "data/a.db").unwrap()];
    manifest.files.clone_from(&pending.files);
    pending.finish(&manifest).unwrap();

    whole(&path, dir.path(), None, &watch).unwrap();
    // There is no place to look inside.
    let nowhere = dir.path().join("nowhere");
    let error = whole(&path, &nowhere, None, &watch).unwrap_err();
    assert!(error.is::<NotProved>(), "{error:#}");
    // Nor is there room.
    let mut sink = Examine {
        file: dir.path().join("scratch"),
        manifest: None,
        watch: &watch,
    };
    manifest.files[0].size = u64::MAX;
    let error = sink.begin(&manifest).unwrap_err();
    assert!(error.is::<NotProved>(), "{error:#}");
    assert!(format!("{error:#}").contains("MB are free"), "{error:#}");
    // Nobody remembers its hash; somebody does, and it differs.
    assert!(sealed(&path, None, &watch).unwrap_err().is::<NotProved>());
    let other = sealed(&path, Some("0"), &watch).unwrap_err();
    assert!(!is_hindered(&other), "{other:#}");
    // A torn one is at fault itself.
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 9);
    fs::write(&path, bytes).unwrap();
    let error = whole(&path, dir.path(), None, &watch).unwrap_err();
    assert!(!is_hindered(&error), "{error:#}");
}
