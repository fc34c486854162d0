use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::discord::id_at;

struct Room {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn room() -> Room {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.db");
    Room {
        _folder: folder,
        path,
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn open(room: &Room) -> (Store, Closing) {
    Store::open(&room.path).unwrap()
}

async fn close(store: Store, closing: Closing) {
    store.close().await;
    drop(store);
    tokio::task::spawn_blocking(move || closing.wait())
        .await
        .unwrap();
}

/// Milliseconds that grow with small ids, and can be an instant for Discord's own.
fn tick(id: u64) -> i64 {
    (id % (1 << 41)) as i64
}

fn question(id: u64, scope: Scope, user: u64, text: &str) -> NewTurn {
    NewTurn {
        id,
        scope,
        own: matches!(scope, Scope::Thread(_)),
        channel: 10,
        guild: Some(1),
        user,
        way: Way::FollowUp,
        said_at: at(1_000 + tick(id)),
        text: text.to_owned(),
    }
}

fn answer(id: u64, scope: Scope, text: &str) -> FinishTurn {
    FinishTurn {
        id,
        scope,
        state: State::Answered,
        answer: Some(text.to_owned()),
        reply_channel: 10,
        replies: vec![id + 1000, id + 1001],
        spent: Some(Spent {
            day: "2026-11-28".to_owned(),
            model: "echo/echo".to_owned(),
            purpose: Purpose::Answer,
            channel: 5,
            messages: 1,
            input_tokens: 10,
            output_tokens: 5,
            cost_micros: 7,
        }),
        at: at(2_000 + tick(id)),
    }
}

async fn turn_state(store: &Store, id: u64) -> Option<State> {
    let state = store.call(move |connection| turns::state_of(connection, id));
    state.await.unwrap()
}

async fn texts(store: &Store, scope: Scope, before: u64) -> Vec<String> {
    let history = store.history(scope, before, 1 << 20).await.unwrap();
    history
        .into_iter()
        .map(|remembered| remembered.text)
        .collect()
}

#[tokio::test]
async fn a_replayed_message_never_starts_a_second_turn() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Thread(5);
    let turn = question(7, scope, 3, "hello");
    assert_eq!(
        store.begin_turn(turn.clone(), at(1)).await.unwrap(),
        BeginTurn::Started
    );
    assert_eq!(
        store.begin_turn(turn.clone(), at(2)).await.unwrap(),
        BeginTurn::Known(State::Open)
    );
    store.finish_turn(answer(7, scope, "hi")).await.unwrap();
    close(store, closing).await;
    let (store, closing) = open(&room);
    assert_eq!(
        store.begin_turn(turn, at(3)).await.unwrap(),
        BeginTurn::Known(State::Answered)
    );
    assert!(store.open_turns().await.unwrap().is_empty());
    close(store, closing).await;
}

#[tokio::test]
async fn an_unfinished_turn_is_there_after_a_restart_with_its_words() {
    let room = room();
    let (store, closing) = open(&room);
    store
        .begin_turn(question(8, Scope::Direct(9), 3, "are you there?"), at(50))
        .await
        .unwrap();
    close(store, closing).await;
    let (store, closing) = open(&room);
    let open = store.open_turns().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].turn.text, "are you there?");
    assert_eq!(open[0].turn.scope, Scope::Direct(9));
    assert_eq!(open[0].accepted_at, at(50));
    assert_eq!(store.direct_channels().await.unwrap(), vec![9]);
    close(store, closing).await;
}

#[tokio::test]
async fn history_is_in_the_order_of_talking_and_never_crosses_scopes() {
    let room = room();
    let (store, closing) = open(&room);
    let (here, there) = (
        Scope::Thread(1),
        Scope::Pair {
            channel: 1,
            user: 3,
        },
    );
    for (id, scope, text) in [
        (1, here, "one"),
        (2, here, "two"),
        (3, there, "secret"),
        (4, here, "three"),
    ] {
        store
            .begin_turn(question(id, scope, 3, text), at(id as i64))
            .await
            .unwrap();
    }
    store.finish_turn(answer(1, here, "first")).await.unwrap();
    store.finish_turn(answer(3, there, "hush")).await.unwrap();
    store.finish_turn(answer(2, here, "second")).await.unwrap();
    assert_eq!(
        texts(&store, here, 4).await,
        ["one", "first", "two", "second"]
    );
    assert_eq!(texts(&store, here, 2).await, ["one", "first"]);
    assert_eq!(texts(&store, there, 9).await, ["secret", "hush"]);
    // A question that is still open, or was closed without a word, is no part of what was talked about.
    assert_eq!(
        texts(&store, here, 9).await,
        ["one", "first", "two", "second"]
    );
    let short = store.history(here, 4, 8).await.unwrap();
    assert!(short.len() < 4, "the budget of bytes bounds what is read");
    // An old question that is answered once more knows nothing of what was said after it.
    store.finish_turn(answer(4, here, "third")).await.unwrap();
    assert_eq!(texts(&store, here, 2).await, ["one", "first"]);
    close(store, closing).await;
}

#[tokio::test]
async fn words_move_to_the_channel_when_no_thread_could_be_opened() {
    let room = room();
    let (store, closing) = open(&room);
    let pair = Scope::Pair {
        channel: 10,
        user: 3,
    };
    store
        .begin_turn(question(7, Scope::Thread(7), 3, "hello"), at(1))
        .await
        .unwrap();
    assert_eq!(store.own_threads().await.unwrap(), vec![7]);
    store.finish_turn(answer(7, pair, "hi")).await.unwrap();
    assert_eq!(texts(&store, pair, 99).await, ["hello", "hi"]);
    assert!(store.own_threads().await.unwrap().is_empty());
    close(store, closing).await;
}

#[tokio::test]
async fn a_deleted_question_takes_its_answer_along_and_stays_known() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Thread(7);
    store
        .begin_turn(question(7, scope, 3, "hello"), at(1))
        .await
        .unwrap();
    store.finish_turn(answer(7, scope, "hi")).await.unwrap();
    let erased = store.erase_turn(7).await.unwrap().unwrap();
    assert_eq!(erased.replies, vec![1007, 1008]);
    assert!(texts(&store, scope, 99).await.is_empty());
    assert_eq!(turn_state(&store, 7).await, Some(State::Removed));
    assert_eq!(store.erase_turn(12345).await.unwrap(), None);
    // Deleted while it was being answered: the answer must not come back.
    store
        .begin_turn(question(8, scope, 3, "never mind"), at(1))
        .await
        .unwrap();
    let erased = store.erase_turn(8).await.unwrap().unwrap();
    assert!(erased.replies.is_empty());
    store
        .finish_turn(answer(8, scope, "too late"))
        .await
        .unwrap();
    assert!(texts(&store, scope, 99).await.is_empty());
    close(store, closing).await;
}

#[tokio::test]
async fn forgetting_reaches_the_files_and_an_older_database_put_back() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Thread(1);
    for (id, user, text) in [(1, 3, "CANARY-mine"), (2, 4, "not mine")] {
        store
            .begin_turn(question(id, scope, user, text), at(10))
            .await
            .unwrap();
        store
            .finish_turn(answer(id, scope, &format!("about {text}")))
            .await
            .unwrap();
    }
    close(store, closing).await;
    let backup = std::fs::read(&room.path).unwrap();
    let contains = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"CANARY");
    assert!(contains(&backup));

    let (store, closing) = open(&room);
    assert_eq!(store.kept(3).await.unwrap().messages.len(), 2);
    let gone = store.forget(3, None, at(5_000)).await.unwrap();
    assert_eq!(
        gone,
        Forgotten {
            messages: 2,
            turns: 1,
            has_nameless: false
        }
    );
    assert_eq!(
        texts(&store, scope, 99).await,
        ["not mine", "about not mine"]
    );
    assert!(!contains(&std::fs::read(&room.path).unwrap()));
    let wal = room.path.with_extension("db-wal");
    assert!(!contains(&std::fs::read(wal).unwrap_or_default()));
    // What is said afterwards is kept.
    store
        .begin_turn(question(6_000, scope, 3, "hello again"), at(6_000))
        .await
        .unwrap();
    assert_eq!(store.kept(3).await.unwrap().messages.len(), 1);
    close(store, closing).await;

    std::fs::write(&room.path, backup).unwrap();
    let (store, closing) = open(&room);
    assert!(store.kept(3).await.unwrap().messages.is_empty());
    assert_eq!(
        texts(&store, scope, 99).await,
        ["not mine", "about not mine"]
    );
    close(store, closing).await;
    assert!(!contains(&std::fs::read(&room.path).unwrap()));
}

#[tokio::test]
async fn what_is_deleted_on_purpose_is_counted_in_the_same_commit() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Thread(1);
    for (id, user) in [(1, 3), (2, 4), (3, 5)] {
        store
            .begin_turn(question(id, scope, user, "x"), at(1))
            .await
            .unwrap();
        store.finish_turn(answer(id, scope, "y")).await.unwrap();
    }
    store.forget(3, None, at(5_000)).await.unwrap();
    let retired = store.retire_history(at(100_000_000_000_000)).await.unwrap();
    assert_eq!(store.retire_history(at(2_000)).await.unwrap(), 0);
    let counted = store
        .call(|connection| {
            let mut all = connection.prepare("SELECT cause, rows FROM let_go ORDER BY cause")?;
            let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(String, i64)>, _>>()?)
        })
        .await
        .unwrap();
    assert_eq!(
        counted,
        [
            ("forgotten".to_owned(), 2),
            ("retired".to_owned(), retired as i64)
        ]
    );
    close(store, closing).await;
}

#[tokio::test]
async fn a_forgetting_can_be_of_one_scope_alone() {
    let room = room();
    let (store, closing) = open(&room);
    let (one, two) = (Scope::Thread(1), Scope::Direct(2));
    store
        .begin_turn(question(1, one, 3, "in the thread"), at(1))
        .await
        .unwrap();
    store
        .begin_turn(question(2, two, 3, "in private"), at(1))
        .await
        .unwrap();
    store
        .forget(3, Some("dm:2".to_owned()), at(5_000))
        .await
        .unwrap();
    let left = store.kept(3).await.unwrap().messages;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].text, "in the thread");
    assert_eq!(turn_state(&store, 2).await, Some(State::Removed));
    close(store, closing).await;
}

/// A question of a certain day, accepted by a clock that may say another one.
async fn asked(store: &Store, scope: Scope, text: &str, (said, accepted): (&str, &str)) -> u64 {
    let day = |text: &str| text.parse::<Timestamp>().unwrap();
    let turn = NewTurn {
        said_at: day(said),
        ..question(id_at(day(said)), scope, 3, text)
    };
    let id = turn.id;
    store.begin_turn(turn, day(accepted)).await.unwrap();
    id
}

#[tokio::test]
async fn a_clock_that_ran_ahead_and_was_set_back_keeps_nothing_from_being_forgotten() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Direct(2);
    let (right, ahead) = ("2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z");
    let id = asked(&store, scope, "early", (right, ahead)).await;
    let reply = FinishTurn {
        at: ahead.parse().unwrap(),
        ..answer(id, scope, "an early answer")
    };
    store.finish_turn(reply).await.unwrap();
    let open_turn = asked(&store, scope, "open", ("2026-11-28T00:01:00Z", ahead)).await;
    // What is said later is kept, whatever was accepted before it.
    let later = asked(&store, scope, "later", ("2026-11-28T02:00:00Z", ahead)).await;
    let until = "2026-11-28T01:00:00Z".parse().unwrap();
    let gone = store.forget(3, None, until).await.unwrap();
    assert_eq!((gone.messages, gone.turns), (3, 2));
    assert_eq!(turn_state(&store, open_turn).await, Some(State::Removed));
    assert_eq!(turn_state(&store, later).await, Some(State::Open));
    let left = store.kept(3).await.unwrap().messages;
    let left: Vec<&str> = left.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(left, ["later"]);
    close(store, closing).await;
}

#[tokio::test]
async fn forgetting_in_a_channel_takes_the_mentions_made_there() {
    let room = room();
    let (store, closing) = open(&room);
    let here = Scope::Pair {
        channel: 10,
        user: 3,
    };
    // In this channel, answered in threads; in a thread; and a mention in another channel.
    for (id, channel, user, text) in [
        (7, 10, 3, "mentioned here"),
        (8, 10, 4, "another's"),
        (9, 7, 3, "in the thread"),
        (20, 11, 3, "elsewhere"),
    ] {
        let scope = Scope::Thread(if id == 9 { 7 } else { id });
        let turn = NewTurn {
            channel,
            ..question(id, scope, user, text)
        };
        store.begin_turn(turn, at(10)).await.unwrap();
        store.finish_turn(answer(id, scope, "yes")).await.unwrap();
    }
    let gone = store.forget(3, Some(here.to_string()), at(5_000));
    let gone = gone.await.unwrap();
    assert_eq!((gone.messages, gone.turns), (2, 1));
    assert_eq!(
        texts(&store, Scope::Thread(7), 99).await,
        ["in the thread", "yes"]
    );
    assert_eq!(
        texts(&store, Scope::Thread(8), 99).await,
        ["another's", "yes"]
    );
    assert_eq!(
        texts(&store, Scope::Thread(20), 99).await,
        ["elsewhere", "yes"]
    );
    close(store, closing).await;
}

/// Names of conversations and settings.
async fn names(store: &Store) -> Vec<String> {
    let names = store.call(|connection| {
        let mut all = connection.prepare(
            "SELECT scope FROM conversations UNION SELECT name FROM settings ORDER BY 1",
        )?;
        let rows = all.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<Vec<String>, _>>()?)
    });
    names.await.unwrap()
}

#[tokio::test]
async fn a_forgotten_member_is_in_no_name_any_more() {
    let room = room();
    let (store, closing) = open(&room);
    let pair = |channel, user| Scope::Pair { channel, user };
    for (id, scope, user) in [
        (1, pair(10, 3), 3),
        (2, pair(11, 3), 3),
        (3, pair(10, 33), 33),
    ] {
        let turn = question(id, scope, user, "x");
        store.begin_turn(turn, at(10)).await.unwrap();
        store.finish_turn(answer(id, scope, "y")).await.unwrap();
    }
    for (name, value) in [
        ("reset:pair:10:3", "20"),
        ("undo:pair:10:3", "0"),
        ("reset:pair:11:3", "20"),
        ("reset:pair:10:33", "20"),
        ("reset:thread:3", "20"),
    ] {
        let (name, value) = (name.to_owned(), Some(value.to_owned()));
        store.set_setting(name, value).await.unwrap();
    }
    store
        .call(|connection| {
            Ok(connection.execute_batch(
                "INSERT INTO conversations (scope, own, begun_ms) VALUES ('mention:3', 0, 1), ('mention:33', 0, 1)",
            )?)
        })
        .await
        .unwrap();
    let here = pair(10, 3).to_string();
    store.forget(3, Some(here), at(5_000)).await.unwrap();
    assert_eq!(
        names(&store).await,
        [
            "forgotten:1",
            "mention:3",
            "mention:33",
            "pair:10:33",
            "pair:11:3",
            "reset:pair:10:33",
            "reset:pair:11:3",
            "reset:thread:3"
        ]
    );
    // Talking again begins a conversation of its own, which is forgotten like the first one.
    let again = question(6_000, pair(10, 3), 3, "hello again");
    store.begin_turn(again, at(6_000)).await.unwrap();
    store.forget(3, None, at(7_000)).await.unwrap();
    let left = names(&store).await;
    let of_others = |name: &&String| !name.starts_with("forgotten:");
    assert_eq!(
        left.iter().filter(of_others).collect::<Vec<_>>(),
        [
            "mention:33",
            "pair:10:33",
            "reset:pair:10:33",
            "reset:thread:3"
        ]
    );
    assert_eq!(texts(&store, pair(10, 33), 99).await, ["x", "y"]);
    close(store, closing).await;
}

#[tokio::test]
async fn usage_is_summed_and_outlives_forgetting() {
    let room = room();
    let (store, closing) = open(&room);
    let scope = Scope::Thread(1);
    for id in 1..=2 {
        store
            .begin_turn(question(id, scope, 3, "x"), at(1))
            .await
            .unwrap();
        store.finish_turn(answer(id, scope, "y")).await.unwrap();
    }
    store.forget(3, None, at(9_000)).await.unwrap();
    let rows = store.usage_since("2026-11-01".to_owned()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].calls, rows[0].input_tokens, rows[0].cost_micros),
        (2, 20, 14)
    );
    assert!(
        store
            .usage_since("2026-12-01".to_owned())
            .await
            .unwrap()
            .is_empty()
    );
    let (by_purpose, by_place) = Store::usage_of(&room.path, "2026-01-01").unwrap();
    assert_eq!(by_purpose, rows);
    let calls = |calls: Vec<u64>| calls.iter().sum::<u64>();
    assert_eq!(
        calls(by_place.iter().map(|row| row.calls).collect()),
        calls(rows.iter().map(|row| row.calls).collect())
    );
    close(store, closing).await;
}

#[tokio::test]
async fn the_owner_hears_of_a_cause_once_a_day_even_when_the_clock_jumps() {
    let room = room();
    let (store, closing) = open(&room);
    let hour = 3_600_000;
    let told = async |cause, hours| store.was_told(cause, at(hours * hour)).await.unwrap();
    assert!(!told("model", 100).await);
    store.note_told("model", at(100 * hour)).await.unwrap();
    assert!(told("model", 110).await);
    assert!(!told("other", 110).await);
    assert!(!told("model", 125).await);
    assert!(!told("model", 50).await, "the clock jumped back");
    close(store, closing).await;
}

#[tokio::test]
async fn identifies_of_the_last_day_are_counted_by_cause() {
    let room = room();
    let (store, closing) = open(&room);
    let hour = 3_600_000;
    store.record_identify(Cause::Start, at(hour)).await.unwrap();
    store
        .record_identify(Cause::Fault, at(20 * hour))
        .await
        .unwrap();
    let all = store.identifies(at(21 * hour)).await.unwrap();
    assert_eq!(all.len(), 2);
    let later = store.identifies(at(30 * hour)).await.unwrap();
    assert_eq!(
        later,
        vec![Identify {
            at: at(20 * hour),
            cause: Cause::Fault
        }]
    );
    close(store, closing).await;
}

#[tokio::test]
async fn calls_at_the_same_time_share_commits_and_fail_alone() {
    let room = room();
    let (store, closing) = open(&room);
    let mut tasks = Vec::new();
    for id in 1..=200_u64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            if id % 10 == 0 {
                let refused: Result<(), Error> = store
                    .call(|connection| {
                        Ok(connection.execute_batch("INSERT INTO nowhere VALUES (1)")?)
                    })
                    .await;
                assert!(refused.is_err());
            } else {
                let turn = question(id, Scope::Thread(id % 7), 3, "x");
                assert_eq!(
                    store.begin_turn(turn, at(1)).await.unwrap(),
                    BeginTurn::Started
                );
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.open_turns().await.unwrap().len(), 180);
    close(store, closing).await;
}

#[test]
fn a_newer_schema_is_refused_kindly() {
    let room = room();
    let connection = Connection::open(&room.path).unwrap();
    connection
        .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
        .unwrap();
    drop(connection);
    let refused = Store::open(&room.path).unwrap_err();
    assert!(matches!(refused, Error::Newer { .. }), "{refused}");
}

fn predecessor(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE sessions (session_key TEXT PRIMARY KEY, session_type TEXT, messages TEXT, created_at TEXT,
                last_active_at TEXT, channel_id INTEGER, thread_id INTEGER, user_id INTEGER);",
        )
        .unwrap();
    let rows = [
        (
            "thread:77",
            r#"[{"role":"user","content":"\u3053\u3093\u306b\u3061\u306f","timestamp":"2026-01-02T09:00:00"},
                {"role":"assistant","content":"hello","timestamp":"2026-01-02T09:00:05.123456"},
                {"role":"user","content":"","timestamp":"2026-01-02T09:01:00"}]"#,
        ),
        (
            "mention:3",
            r#"[{"role":"user","content":"elsewhere","timestamp":"2026-01-02T10:00:00"}]"#,
        ),
        ("eavesdrop:5", "[]"),
        ("thread:78", "not json"),
    ];
    for (key, messages) in rows {
        connection
            .execute(
                "INSERT INTO sessions VALUES (?1, 'x', ?2, '2026-01-02T09:00:00', '2026-01-02T09:00:00', 5, NULL, 3)",
                [key, messages],
            )
            .unwrap();
    }
}

#[tokio::test]
async fn the_predecessors_words_come_along_once_and_mention_rows_stay_sealed() {
    let room = room();
    let old = room.path.with_file_name("old.db");
    predecessor(&old);
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let report = Store::import(&room.path, &old, &zone, at(1)).unwrap();
    assert_eq!(
        (report.sessions, report.taken, report.empty, report.sealed),
        (4, 3, 1, 1)
    );
    assert_eq!(report.unreadable, ["thread:78"]);
    let again = Store::import(&room.path, &old, &zone, at(1)).unwrap();
    assert_eq!((again.taken, again.known), (0, 3));

    let (store, closing) = open(&room);
    assert_eq!(
        texts(&store, Scope::Thread(77), 99).await,
        ["こんにちは", "hello"]
    );
    let first = store
        .history(Scope::Thread(77), 99, 1000)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(first.at.to_string(), "2026-01-02T00:00:00Z");
    assert_eq!(store.own_threads().await.unwrap(), vec![77]);
    let exported = store.kept(3).await.unwrap().messages;
    assert!(
        exported
            .iter()
            .any(|message| message.text == "elsewhere" && message.scope == "mention:3")
    );
    close(store, closing).await;
}

#[tokio::test]
async fn an_import_brings_no_forgotten_word_back_and_costs_no_later_one() {
    let room = room();
    let old = room.path.with_file_name("old.db");
    predecessor(&old);
    let day = |text: &str| text.parse::<Timestamp>().unwrap();
    let (store, closing) = open(&room);
    store
        .forget(3, None, day("2026-02-01T00:00:00Z"))
        .await
        .unwrap();
    let later = day("2026-02-02T00:00:00Z");
    let said = NewTurn {
        said_at: later,
        ..question(id_at(later), Scope::Thread(77), 3, "said afterwards")
    };
    store.begin_turn(said, later).await.unwrap();
    close(store, closing).await;

    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    Store::import(&room.path, &old, &zone, later).unwrap();
    let (store, closing) = open(&room);
    let kept = store.kept(3).await.unwrap().messages;
    let kept: Vec<&str> = kept.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(kept, ["said afterwards"]);
    close(store, closing).await;
}

#[tokio::test]
async fn an_imported_thread_is_its_beginners_and_a_nameless_remark_goes_with_anybody() {
    let room = room();
    let old = room.path.with_file_name("old.db");
    predecessor(&old);
    let talk = |words: &str| {
        format!(
            r#"[{{"role":"user","content":"{words}?","timestamp":"2026-01-02T09:00:00"}},
                {{"role":"assistant","content":"{words}.","timestamp":"2026-01-02T09:00:05"}}]"#
        )
    };
    let unasked = r#"[{"role":"assistant","content":"unasked","timestamp":"2026-01-02T09:00:00"}]"#;
    let connection = Connection::open(&old).unwrap();
    for (key, messages, user) in [
        ("thread:79", talk("others"), Some(4)),
        ("eavesdrop:6", unasked.to_owned(), None),
        ("eavesdrop:7", unasked.to_owned(), None),
    ] {
        connection
            .execute(
                "INSERT INTO sessions VALUES (?1, 'x', ?2, '2026-01-02T09:00:00', '2026-01-02T09:00:00', 5, NULL, ?3)",
                rusqlite::params![key, messages, user],
            )
            .unwrap();
    }
    drop(connection);
    Store::import(&room.path, &old, &TimeZone::UTC, at(1)).unwrap();
    let (store, closing) = open(&room);
    let left = async |scope| texts(&store, scope, 99).await.len();
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    let forget = async |user, scope: Option<Scope>| {
        let gone = store.forget(user, scope.map(|scope| scope.to_string()), now);
        let gone = gone.await.unwrap();
        (gone.messages, gone.has_nameless)
    };
    // Somebody of whom the predecessor wrote nothing down: in the thread of another, and where it spoke unasked.
    let here = Scope::Thread(79);
    assert_eq!(forget(5, Some(here)).await, (0, true));
    let beside = Scope::Pair {
        channel: 6,
        user: 5,
    };
    assert_eq!(forget(5, Some(beside)).await, (1, false));
    assert_eq!(left(Scope::Overheard(7)).await, 1);
    // The beginner's words and the answers to them, here alone: the other's thread is no part of it.
    assert_eq!(forget(3, Some(Scope::Thread(77))).await, (2, false));
    assert_eq!((left(Scope::Thread(77)).await, left(here).await), (0, 2));
    // Everywhere: what is sealed, and the remark of the other channel.
    assert_eq!(forget(3, None).await, (2, true));
    assert_eq!(left(Scope::Overheard(7)).await, 0);
    assert_eq!(forget(4, None).await, (2, false));
    assert_eq!(left(here).await, 0);
    close(store, closing).await;
}

#[test]
fn the_predecessors_packed_backups_can_be_imported_and_leave_nothing_beside() {
    let room = room();
    let old = room.path.with_file_name("old.db");
    predecessor(&old);
    // Folded into one file, as its backup command does.
    let connection = Connection::open(&old).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    let packed = room.path.with_file_name("kotonoha_20260101.db.gz");
    let mut encoder = flate2::write::GzEncoder::new(
        std::fs::File::create(&packed).unwrap(),
        flate2::Compression::fast(),
    );
    std::io::Write::write_all(&mut encoder, &std::fs::read(&old).unwrap()).unwrap();
    encoder.finish().unwrap();
    let report = Store::import(&room.path, &packed, &TimeZone::UTC, at(1)).unwrap();
    assert_eq!(report.taken, 3);
    let folder = room.path.parent().unwrap();
    assert!(std::fs::read_dir(folder).unwrap().all(|entry| {
        !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("partial")
    }));
}

#[test]
fn a_predecessors_database_in_our_place_is_recognised_and_set_aside_whole() {
    let room = room();
    predecessor(&room.path);
    assert!(Store::is_predecessors(&room.path).unwrap());
    assert!(matches!(Store::open(&room.path), Err(Error::Predecessor)));
    let aside = Store::set_aside(&room.path, "before-import", at(0)).unwrap();
    assert!(
        aside
            .to_str()
            .unwrap()
            .ends_with("sessions.db.before-import-19700101T000000Z")
    );
    assert!(!room.path.exists());
    let report = Store::import(&room.path, &aside, &TimeZone::UTC, at(1)).unwrap();
    assert_eq!(report.taken, 3);
    assert!(!Store::is_predecessors(&room.path).unwrap());
    assert_eq!(
        import::set_aside_copies(&room.path).unwrap(),
        vec![aside.clone()]
    );
    Store::forget_offline(&room.path, 99, at(2)).unwrap();
    assert!(
        !aside.exists(),
        "a set-aside copy still holds the words of whoever asked to be forgotten"
    );
}

#[test]
fn a_takeover_is_unfinished_until_its_end_and_its_copy_is_needed_so_long() {
    let room = room();
    predecessor(&room.path);
    let copy = Store::begin_takeover(&room.path, at(5_000)).unwrap();
    let unfinished = || Store::unfinished_takeovers(&room.path).unwrap();
    assert_eq!(unfinished(), vec![copy.clone()]);
    // Somebody was forgotten before; nothing that clears copies away may take the only one there is of these words.
    Store::forget_offline(&room.path, 99, at(1_000)).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_hours(1);
    assert_eq!(Store::remove_old_copies(&room.path, later).unwrap(), 0);
    // Interrupted after its last word, it is imported once more.
    for taken in [3, 0] {
        let report = Store::import(&room.path, &copy, &TimeZone::UTC, at(6_000)).unwrap();
        assert_eq!(report.taken, taken);
    }
    Store::end_takeover(&room.path, &copy).unwrap();
    assert_eq!(unfinished(), Vec::<PathBuf>::new());
    let kept = import::set_aside_copies(&room.path).unwrap();
    assert_eq!(
        kept,
        [room
            .path
            .with_file_name("sessions.db.before-import-19700101T000005Z")]
    );
}

#[test]
fn who_is_forgotten_during_a_takeover_is_forgotten_after_it_too() {
    let room = room();
    predecessor(&room.path);
    let copy = Store::begin_takeover(&room.path, at(5_000)).unwrap();
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    Store::forget_offline(&room.path, 3, now).unwrap();
    assert!(copy.exists(), "it holds the words of others too");
    Store::import(&room.path, &copy, &TimeZone::UTC, now).unwrap();
    Store::end_takeover(&room.path, &copy).unwrap();
    assert_eq!(Store::kept_of(&room.path, 3).unwrap().messages, Vec::new());
    assert!(!copy.exists());
    let kept = import::set_aside_copies(&room.path).unwrap();
    assert_eq!(kept, Vec::<PathBuf>::new());
}

#[test]
fn scopes_are_written_and_read_alike() {
    let all = [
        Scope::Thread(1),
        Scope::Direct(2),
        Scope::Overheard(3),
        Scope::Pair {
            channel: 4,
            user: 5,
        },
    ];
    for scope in all {
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    assert!("mention:3".parse::<Scope>().is_err());
}

/// The band of `docs`: at most 20 KB and two syncs a mention, the same at turn 1,000.
#[tokio::test]
async fn a_mention_writes_less_than_twenty_kilobytes() {
    let room = room();
    let (store, closing) = open(&room);
    let wal = room.path.with_extension("db-wal");
    let text = "ことばを選びながら話すのは、ゆっくりで大丈夫です。".repeat(6);
    let mut written = 0;
    let rounds = 200_u64;
    let mut last = std::fs::metadata(&wal).map_or(0, |meta| meta.len());
    for id in 1..=rounds {
        let scope = Scope::Thread(id);
        store
            .begin_turn(
                question(id, scope, 3, "a question of a usual length, nothing more"),
                at(1),
            )
            .await
            .unwrap();
        store.finish_turn(answer(id, scope, &text)).await.unwrap();
        let now = std::fs::metadata(&wal).map_or(0, |meta| meta.len());
        written += now.saturating_sub(last);
        last = now;
    }
    let mean = written / rounds;
    assert!(mean < 20_000, "{mean} bytes of log a mention");
    close(store, closing).await;
}

#[tokio::test]
async fn a_database_of_version_1_is_migrated_and_set_aside_first() {
    use std::os::unix::fs::PermissionsExt;

    let room = room();
    {
        let connection = Connection::open(&room.path).unwrap();
        connection.execute_batch(schema::VERSION_1).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO conversations VALUES (1, 'thread:5', 1, 0, 1);
                 INSERT INTO turns VALUES (7, 1, 10, 1, 3, 2, 1, 5, 6, 10, '8');
                 INSERT INTO messages VALUES (1, 1, 7, 0, 3, 5, 'old word');",
            )
            .unwrap();
    }
    // A command may look before the bot has migrated.
    assert_eq!(Store::kept_of(&room.path, 3).unwrap().messages.len(), 1);
    let copies = || import::set_aside_copies(&room.path).unwrap();
    let (store, closing) = open(&room);
    assert_eq!(texts(&store, Scope::Thread(5), 9).await, ["old word"]);
    assert!(store.consents().await.unwrap().is_empty());
    close(store, closing).await;
    let aside = copies();
    assert_eq!(aside.len(), 1);
    let old = Connection::open(&aside[0]).unwrap();
    let version: i64 = old
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let words: String = old
        .query_row("SELECT text FROM messages", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, words.as_str()), (1, "old word"));
    let mode = std::fs::metadata(&aside[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "as private as the database");
    // Once: the next start finds nothing to do, and a new database sets nothing aside.
    let (store, closing) = open(&room);
    close(store, closing).await;
    assert_eq!(copies().len(), 1);
    let version: i64 = Connection::open(&room.path)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, SCHEMA_VERSION);
}

fn remark(id: u64, user: u64) -> NewTurn {
    NewTurn {
        own: false,
        channel: 10,
        way: Way::Unasked,
        text: "never stored".to_owned(),
        ..question(id, Scope::Overheard(10), user, "")
    }
}

#[tokio::test]
async fn consent_outlives_a_restart_and_a_no_outlives_a_restore() {
    let room = room();
    let (store, closing) = open(&room);
    for (channel, user) in [(10, 3), (10, 4), (11, 3)] {
        store.consent(channel, user, at(100)).await.unwrap();
    }
    store.fold().await.unwrap();
    let backup = std::fs::read(&room.path).unwrap();
    store.withdraw_consent(10, 3, at(50)).await.unwrap();
    store.withdraw_consent(10, 99, at(200)).await.unwrap();
    close(store, closing).await;
    let (store, closing) = open(&room);
    let mut left = store.consents().await.unwrap();
    left.sort_unstable();
    assert_eq!(left, [(10, 4), (11, 3)]);
    close(store, closing).await;
    // An older database comes back, with the file of tombstones beside it.
    std::fs::write(&room.path, backup).unwrap();
    let (store, closing) = open(&room);
    let mut left = store.consents().await.unwrap();
    left.sort_unstable();
    assert_eq!(
        left,
        [(10, 4), (11, 3)],
        "nobody is heard again by a restore"
    );
    // Given anew it holds, whatever the clock says.
    store.consent(10, 3, at(1)).await.unwrap();
    close(store, closing).await;
    let (store, closing) = open(&room);
    assert_eq!(store.consents().await.unwrap().len(), 3);
    close(store, closing).await;
    let lines = std::fs::read_to_string(room.path.with_file_name("forgotten.jsonl")).unwrap();
    assert!(
        !lines.contains("99"),
        "a no without a yes leaves no trace: {lines}"
    );
}

#[tokio::test]
async fn forgetting_takes_what_was_said_after_hearing_and_the_consent() {
    let room = room();
    let (store, closing) = open(&room);
    for user in [3, 4] {
        store.consent(10, user, at(100)).await.unwrap();
        store.consent(11, user, at(100)).await.unwrap();
    }
    for (id, channel, people) in [(20, 10, vec![3, 4]), (21, 11, vec![3]), (22, 10, vec![4])] {
        let turn = NewTurn {
            channel,
            scope: Scope::Overheard(channel),
            ..remark(id, 4)
        };
        store.begin_remark(turn, people, at(200)).await.unwrap();
        let said = answer(id, Scope::Overheard(channel), &format!("remark-{id}"));
        store.finish_turn(said).await.unwrap();
    }
    let remarks = async |store: &Store| {
        let mut texts = texts(store, Scope::Overheard(10), 99).await;
        texts.extend(self::texts(store, Scope::Overheard(11), 99).await);
        texts
    };
    assert_eq!(
        remarks(&store).await,
        ["remark-20", "remark-22", "remark-21"]
    );
    let mine = store.kept(3).await.unwrap().messages;
    let shown: Vec<(&str, &str)> = mine
        .iter()
        .map(|row| (row.role, row.scope.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("companion", "eavesdrop:10"),
            ("companion", "eavesdrop:11"),
            ("consent", "consent:10"),
            ("consent", "consent:11"),
        ]
    );
    // Here: the channel's remarks and consent, not the other channel's.
    let here = "pair:10:3".to_owned();
    let gone = store.forget(3, Some(here), at(300)).await.unwrap();
    assert_eq!(gone.messages, 1);
    assert_eq!(remarks(&store).await, ["remark-22", "remark-21"]);
    assert!(!store.consents().await.unwrap().contains(&(10, 3)));
    assert!(store.consents().await.unwrap().contains(&(11, 3)));
    store.forget(3, None, at(400)).await.unwrap();
    assert!(store.kept(3).await.unwrap().messages.is_empty());
    assert_eq!(remarks(&store).await, ["remark-22"]);
    close(store, closing).await;
    let connection = Connection::open(&room.path).unwrap();
    let left: i64 = connection
        .query_row("SELECT count(*) FROM heard WHERE user = 3", [], |row| {
            row.get(0)
        })
        .unwrap();
    let stored: i64 = connection
        .query_row(
            "SELECT count(*) FROM messages WHERE text LIKE 'never%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((left, stored), (0, 0));
}

#[tokio::test]
async fn when_we_spoke_last_outlives_a_restart() {
    let room = room();
    let (store, closing) = open(&room);
    for id in [30, 31] {
        store
            .begin_remark(remark(id, 3), vec![3], at(1))
            .await
            .unwrap();
    }
    assert_eq!(
        store
            .begin_remark(remark(31, 3), vec![3], at(2))
            .await
            .unwrap(),
        BeginTurn::Known(State::Open)
    );
    close(store, closing).await;
    let (store, closing) = open(&room);
    assert_eq!(store.last_remarks().await.unwrap(), [(10, 31)]);
    close(store, closing).await;
}
