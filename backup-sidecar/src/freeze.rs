//! This room notices an archive whose databases vanished or lost more than half of their rows or bytes. Pure.
//!
//! Such an archive may be the work of a fault: until the owner accepts it, nothing is deleted, so that empty but valid
//! archives never push out the good ones.

use jiff::Timestamp;

use crate::manifest::DatabaseEntry;

/// What the rule looks at in one archive.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// The archive's name.
    pub name: &'a str,
    /// When its snapshot was taken.
    pub taken: Timestamp,
    /// Its databases.
    pub databases: &'a [DatabaseEntry],
}

/// An archive that waits for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The archive that lost much.
    pub name: String,
    /// What it lost, in English, with numbers.
    pub loss: String,
}

/// The newest archive that lost much and was not accepted. `accepted_until` is the snapshot instant of the newest
/// archive that the owner accepted: whatever came before it is accepted as well.
#[must_use]
pub fn find(sights: &[Sight<'_>], accepted_until: Option<Timestamp>) -> Option<Freeze> {
    let mut sorted: Vec<&Sight<'_>> = sights.iter().collect();
    sorted.sort_by_key(|sight| sight.taken);
    let mut frozen = None;
    let mut baseline: Option<&Sight<'_>> = None;
    for sight in sorted {
        let loss = baseline.and_then(|baseline| loss_between(baseline, sight));
        match loss {
            Some(loss) if accepted_until.is_none_or(|until| sight.taken > until) => {
                // The baseline stays what it was before the loss.
                frozen = Some(Freeze {
                    name: sight.name.to_owned(),
                    loss,
                });
            }
            _ => baseline = Some(sight),
        }
    }
    frozen
}

fn loss_between(before: &Sight<'_>, after: &Sight<'_>) -> Option<String> {
    for old in before.databases {
        let Some(new) = after
            .databases
            .iter()
            .find(|database| database.path == old.path)
        else {
            return Some(format!("{} is gone", old.path));
        };
        // What a member or the owner asked to let go is no accident; exactly so much is not missed.
        let let_go = new.let_go.saturating_sub(old.let_go);
        let expected_rows = old.rows().saturating_sub(let_go);
        if new.rows().saturating_mul(2) < expected_rows {
            return Some(format!(
                "{}: {} rows became {}{}",
                old.path,
                old.rows(),
                new.rows(),
                on_purpose(let_go)
            ));
        }
        let expected_bytes = match u128::from(old.rows()) {
            0 => u128::from(old.bytes()),
            rows => u128::from(old.bytes()) * u128::from(expected_rows) / rows,
        };
        if u128::from(new.bytes()) * 2 < expected_bytes {
            return Some(format!(
                "{}: {} bytes became {}",
                old.path,
                old.bytes(),
                new.bytes()
            ));
        }
    }
    None
}

fn on_purpose(let_go: u64) -> String {
    if let_go == 0 {
        String::new()
    } else {
        format!(", {let_go} of them were let go on purpose")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn database(path: &str, rows: u64, pages: u64, let_go: u64) -> DatabaseEntry {
        DatabaseEntry {
            path: path.into(),
            page_size: 4096,
            pages,
            user_version: 1,
            integrity: "ok".into(),
            tables: BTreeMap::from([("messages".into(), rows)]),
            let_go,
        }
    }

    fn find_in(history: &[(u64, u64, u64)], accepted_until: Option<i64>) -> Option<String> {
        let databases: Vec<_> = history
            .iter()
            .map(|(rows, pages, let_go)| vec![database("data/sessions.db", *rows, *pages, *let_go)])
            .collect();
        let names: Vec<_> = (0..history.len())
            .map(|at| format!("archive {at}"))
            .collect();
        let sights: Vec<_> = history
            .iter()
            .enumerate()
            .map(|(at, _)| Sight {
                name: &names[at],
                taken: Timestamp::from_second(at as i64).unwrap(),
                databases: &databases[at],
            })
            .collect();
        let until = accepted_until.map(|second| Timestamp::from_second(second).unwrap());
        find(&sights, until).map(|freeze| freeze.name)
    }

    #[test]
    fn growth_and_small_losses_freeze_nothing() {
        assert_eq!(find_in(&[], None), None);
        assert_eq!(find_in(&[(0, 1, 0)], None), None);
        assert_eq!(
            find_in(&[(10, 4, 0), (11, 4, 0), (6, 3, 0), (60, 9, 0)], None),
            None
        );
    }

    #[test]
    fn losing_more_than_half_freezes_until_accepted() {
        let history = [(100, 10, 0), (49, 10, 0), (48, 10, 0)];
        assert_eq!(find_in(&history, None), Some("archive 2".into()));
        assert_eq!(find_in(&history, Some(0)), Some("archive 2".into()));
        assert_eq!(
            find_in(&history, Some(1)),
            None,
            "the accepted one is the new baseline"
        );
        assert_eq!(
            find_in(&[(100, 10, 0), (100, 4, 0)], None),
            Some("archive 1".into())
        );
    }

    #[test]
    fn a_loss_stays_noticed_when_the_data_comes_back() {
        assert_eq!(
            find_in(&[(100, 10, 0), (3, 10, 0), (100, 10, 0)], None),
            Some("archive 1".into())
        );
    }

    #[test]
    fn exactly_what_was_let_go_is_not_missed() {
        assert_eq!(find_in(&[(100, 10, 0), (3, 2, 97)], None), None);
        assert_eq!(find_in(&[(100, 10, 5), (3, 2, 102)], None), None);
        assert_eq!(
            find_in(&[(100, 10, 0), (3, 2, 1)], None),
            Some("archive 1".into()),
            "one request explains one row, not all of them"
        );
        assert_eq!(
            find_in(&[(100, 10, 97), (3, 2, 97)], None),
            Some("archive 1".into()),
            "what was let go before is gone from both"
        );
        assert_eq!(
            find_in(&[(100, 10, 97), (3, 2, 0)], None),
            Some("archive 1".into())
        );
    }

    #[test]
    fn a_database_that_vanished_freezes_whatever_was_let_go() {
        let before = [
            database("data/a.db", 1, 1, 0),
            database("data/b.db", 1, 1, 0),
        ];
        let after = [database("data/a.db", 1, 1, 9)];
        let sight = |name, second, databases| Sight {
            name,
            taken: Timestamp::from_second(second).unwrap(),
            databases,
        };
        let found = find(
            &[sight("x", 1, &before[..]), sight("y", 2, &after[..])],
            None,
        );
        assert_eq!(found.unwrap().loss, "data/b.db is gone");
    }
}
