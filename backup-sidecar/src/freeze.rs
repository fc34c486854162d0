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
    /// How many requests to forget its data had seen.
    pub forgotten: u64,
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
        // The owner or a member asked for it: no accident.
        if after.forgotten > before.forgotten {
            continue;
        }
        if new.rows().saturating_mul(2) < old.rows() {
            return Some(format!(
                "{}: {} rows became {}",
                old.path,
                old.rows(),
                new.rows()
            ));
        }
        if new.bytes().saturating_mul(2) < old.bytes() {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn database(path: &str, rows: u64, pages: u64) -> DatabaseEntry {
        DatabaseEntry {
            path: path.into(),
            page_size: 4096,
            pages,
            user_version: 1,
            integrity: "ok".into(),
            tables: BTreeMap::from([("messages".into(), rows)]),
        }
    }

    fn find_in(history: &[(u64, u64, u64)], accepted_until: Option<i64>) -> Option<String> {
        let databases: Vec<_> = history
            .iter()
            .map(|(rows, pages, _)| vec![database("data/sessions.db", *rows, *pages)])
            .collect();
        let names: Vec<_> = (0..history.len())
            .map(|at| format!("archive {at}"))
            .collect();
        let sights: Vec<_> = history
            .iter()
            .enumerate()
            .map(|(at, (_, _, forgotten))| Sight {
                name: &names[at],
                taken: Timestamp::from_second(at as i64).unwrap(),
                databases: &databases[at],
                forgotten: *forgotten,
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
    fn forgetting_is_no_accident() {
        assert_eq!(find_in(&[(100, 10, 0), (3, 2, 1)], None), None);
    }

    #[test]
    fn a_database_that_vanished_freezes_even_after_forgetting() {
        let before = [database("data/a.db", 1, 1), database("data/b.db", 1, 1)];
        let after = [database("data/a.db", 1, 1)];
        let sight = |name, second, databases, forgotten| Sight {
            name,
            taken: Timestamp::from_second(second).unwrap(),
            databases,
            forgotten,
        };
        let found = find(
            &[sight("x", 1, &before[..], 0), sight("y", 2, &after[..], 5)],
            None,
        );
        assert_eq!(found.unwrap().loss, "data/b.db is gone");
    }
}
