//! This room shows the last lines, and goes on with new ones across rotations.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::follow::{self, Bounds, Places};
use crate::frames;
use crate::line;
use crate::search::show::Style;
use crate::segment::Listing;
use crate::source::Source;

const BATCH: Bounds = Bounds {
    lines: 1_000,
    bytes: 1 << 20,
};
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shows the last `count` lines of a service, or of all of them by time; where to go on.
pub fn last_lines(
    dir: &Path,
    service: Option<&str>,
    count: usize,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<Places> {
    let listing = Listing::names(dir)?;
    let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
    let mut places = Places::new();
    for name in listing.services() {
        if service.is_some_and(|only| only != name) {
            continue;
        }
        places.insert(name.clone(), follow::end_of(&listing, &name)?);
        lines.extend(newest(dir, &listing, &name, count)?);
    }
    // The sort is stable: lines of one service stay in their order.
    lines.sort_by_key(|(millis, _)| *millis);
    let skip = lines.len().saturating_sub(count);
    for (_, line) in &lines[skip..] {
        style.write(out, line, true)?;
    }
    out.flush()?;
    Ok(places)
}

/// The last lines of one service with their times, oldest first.
fn newest(
    dir: &Path,
    listing: &Listing,
    service: &str,
    count: usize,
) -> io::Result<Vec<(i64, Vec<u8>)>> {
    let mut newest_first: Vec<Vec<u8>> = Vec::new();
    let active = listing
        .active
        .iter()
        .filter(|active| active.service == service)
        .map(Source::active);
    let closed = listing
        .closed
        .iter()
        .rev()
        .filter(|segment| segment.service == service);
    let closed = closed.filter_map(|segment| Source::closed(dir, segment).transpose());
    let mut sources = active.chain(closed);
    // Segments are opened one by one: there may be thousands, and the newest one is mostly enough.
    while newest_first.len() < count {
        let Some(source) = sources.next() else { break };
        match source.and_then(|source| newest_of(source, count, &mut newest_first)) {
            // A broken file hides its own lines only.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            read => read?,
        }
    }
    let mut last = i64::MIN;
    Ok(newest_first
        .into_iter()
        .rev()
        .map(|line| {
            last = line::glance(&line).millis.unwrap_or(last).max(last);
            (last, line)
        })
        .collect())
}

/// Adds the last lines of one segment, newest first, until there are `count`.
fn newest_of(mut source: Source, count: usize, newest_first: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let mut text = Vec::new();
    for block in source.blocks().to_vec().into_iter().rev() {
        if newest_first.len() >= count {
            break;
        }
        source.read(block, &mut text)?;
        let lines: Vec<&[u8]> = frames::lines(&text)
            .filter(|line| line.ends_with(b"\n"))
            .collect();
        let wanted = lines.iter().rev().take(count - newest_first.len());
        newest_first.extend(wanted.map(|line| line[..line.len() - 1].to_vec()));
    }
    Ok(())
}

/// Shows new lines until writing fails (the reader of a pipe went away) or `stop` says so.
pub fn follow(
    dir: &Path,
    service: Option<&str>,
    mut places: Places,
    style: &Style,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> io::Result<()> {
    while !stop() {
        let listing = Listing::names(dir)?;
        let mut quiet = true;
        for name in listing.services() {
            if service.is_some_and(|only| only != name) {
                continue;
            }
            let place = places.entry(name.clone()).or_default();
            let batch = follow::next_batch(dir, &listing, &name, place, BATCH)?;
            for line in &batch.lines {
                style.write(out, line, true)?;
            }
            quiet &= batch.lines.is_empty();
            *place = batch.next;
        }
        out.flush()?;
        if quiet {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn line(second: u32, service: &str) -> String {
        format!(
            "{{\"ts\":\"2026-03-01T00:00:{second:02}.000Z\",\"level\":\"INFO\",\"service\":\"{service}\",\"msg\":\"{second}\"}}\n"
        )
    }

    #[test]
    fn the_last_lines_of_all_services_by_time_and_then_the_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(
            at("bot.20260301T000003.000Z.log"),
            line(1, "bot") + &line(3, "bot"),
        )
        .unwrap();
        std::fs::write(at("bot.log"), line(5, "bot")).unwrap();
        std::fs::write(
            at("log-shipper.log"),
            line(2, "log-shipper") + &line(4, "log-shipper"),
        )
        .unwrap();
        let style = Style {
            json: true,
            color: false,
            zone: jiff::tz::TimeZone::UTC,
            mark: None,
        };
        let mut out = Vec::new();
        let places = last_lines(dir.path(), None, 3, &style, &mut out).unwrap();
        let wanted = line(3, "bot") + &line(4, "log-shipper") + &line(5, "bot");
        assert_eq!(String::from_utf8(out).unwrap(), wanted);

        std::fs::hard_link(at("bot.log"), at("bot.20260301T000006.000Z.log")).unwrap();
        std::fs::remove_file(at("bot.log")).unwrap();
        std::fs::write(at("bot.log"), line(7, "bot")).unwrap();
        let rounds = Cell::new(0);
        let stop = || rounds.replace(rounds.get() + 1) >= 3;
        let mut out = Vec::new();
        follow(dir.path(), None, places, &style, &mut out, &stop).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), line(7, "bot"));
    }

    #[test]
    fn a_damaged_segment_hides_its_own_lines_only_and_is_not_opened_without_need() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("bot.20260301T000001.000Z.log"), line(1, "bot")).unwrap();
        std::fs::write(at("bot.20260301T000002.000Z.log.zst"), "damaged").unwrap();
        std::fs::write(at("bot.20260301T000003.000Z.log"), line(3, "bot")).unwrap();
        std::fs::write(at("bot.log"), line(4, "bot")).unwrap();
        let listing = Listing::names(dir.path()).unwrap();
        let last = |count: usize| -> Vec<u8> {
            let lines = newest(dir.path(), &listing, "bot", count).unwrap();
            let lines = lines.into_iter().map(|(_, line)| line);
            lines
                .flat_map(|line| [line, b"\n".to_vec()].concat())
                .collect()
        };
        let all = line(1, "bot") + &line(3, "bot") + &line(4, "bot");
        assert_eq!(String::from_utf8(last(10)).unwrap(), all);
        assert_eq!(String::from_utf8(last(1)).unwrap(), line(4, "bot"));
        // Only what must be is opened: a folder under a segment's name cannot even be read.
        std::fs::remove_file(at("bot.20260301T000003.000Z.log")).unwrap();
        std::fs::create_dir(at("bot.20260301T000003.000Z.log")).unwrap();
        assert!(newest(dir.path(), &listing, "bot", 2).is_err());
        assert_eq!(String::from_utf8(last(1)).unwrap(), line(4, "bot"));
    }
}
