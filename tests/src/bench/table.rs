//! The table: one row a figure, with its peer, its ratio and its band.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

/// Ratios are printed from this many runs on.
const MIN_RUNS: usize = 3;

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// A sample of these measurements.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sample = Self::default();
        values.into_iter().for_each(|value| sample.add(value));
        sample
    }

    /// Adds a measurement.
    pub fn add(&mut self, value: f64) {
        let place = self.values.partition_point(|known| *known <= value);
        self.values.insert(place, value);
    }

    /// The value below which the share `part` of the measurements lies.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.values.len().saturating_sub(1) as f64;
        let place = (last * part).round() as usize;
        self.values.get(place).copied().unwrap_or(f64::NAN)
    }

    /// The middle measurement.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// How many measurements there are.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.values.len()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: f64| {
            let digits = match value.abs() {
                size if size >= 100.0 => 0,
                size if size >= 10.0 => 1,
                size if size >= 1.0 => 2,
                _ => 3,
            };
            format!("{value:.digits$}")
        };
        write!(f, "{}", short(self.median()))?;
        if self.runs() > 1 {
            write!(
                f,
                " ({}–{})",
                short(self.quantile(0.0)),
                short(self.quantile(1.0))
            )?;
        }
        Ok(())
    }
}

/// What must be reached.
#[derive(Clone, Copy, Debug)]
pub enum Band {
    /// The figure itself must not be larger.
    AtMost(f64),
    /// The figure itself must not be smaller.
    AtLeast(f64),
    /// The ratio to the peer must not be larger.
    RatioAtMost(f64),
    /// The ratio to the peer must not be smaller.
    RatioAtLeast(f64),
    /// Shown, not judged.
    Shown,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured, with its unit.
    pub what: String,
    /// Ours.
    pub ours: Sample,
    /// The peer's name and figure, measured in the same run.
    pub peer: Option<(String, Sample)>,
    /// What must be reached.
    pub band: Band,
}

impl Row {
    /// A figure without a peer.
    #[must_use]
    pub fn alone(what: impl Into<String>, ours: Sample, band: Band) -> Self {
        Self {
            what: what.into(),
            ours,
            peer: None,
            band,
        }
    }

    /// A figure beside a peer's.
    #[must_use]
    pub fn beside(
        what: impl Into<String>,
        ours: Sample,
        peer: &str,
        theirs: Sample,
        band: Band,
    ) -> Self {
        Self {
            what: what.into(),
            ours,
            peer: Some((peer.to_owned(), theirs)),
            band,
        }
    }

    /// Ours divided by the peer's medians; nothing from too few runs.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (_, theirs) = self.peer.as_ref()?;
        let enough = self.ours.runs() >= MIN_RUNS && theirs.runs() >= MIN_RUNS;
        enough.then(|| self.ours.median() / theirs.median())
    }

    /// Whether the band is reached; nothing when it cannot be judged.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        match self.band {
            Band::AtMost(limit) => Some(self.ours.median() <= limit),
            Band::AtLeast(limit) => Some(self.ours.median() >= limit),
            Band::RatioAtMost(limit) => self.ratio().map(|ratio| ratio <= limit),
            Band::RatioAtLeast(limit) => self.ratio().map(|ratio| ratio >= limit),
            Band::Shown => None,
        }
    }

    fn band_text(&self) -> String {
        match self.band {
            Band::AtMost(limit) => format!("≤ {limit}"),
            Band::AtLeast(limit) => format!("≥ {limit}"),
            Band::RatioAtMost(limit) => format!("≤ {limit} ×"),
            Band::RatioAtLeast(limit) => format!("≥ {limit} ×"),
            Band::Shown => "—".to_owned(),
        }
    }
}

/// All figures of a run, with the machine they were measured on.
#[derive(Debug)]
pub struct Table {
    title: String,
    machine: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table that describes this machine.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            machine: machine(),
            rows: Vec::new(),
        }
    }

    /// Adds a figure, and shows it at once: a run takes long, and one that fails later has still shown this much.
    pub fn add(&mut self, row: Row) {
        writeln!(io::stderr().lock(), "{}: {}", row.what, row.ours).ok();
        self.rows.push(row);
    }

    /// Notes something about the run.
    pub fn note(&mut self, note: impl Into<String>) {
        self.machine.push(note.into());
    }

    /// Writes the table for people, as Markdown.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "### {}\n", self.title)?;
        for fact in &self.machine {
            writeln!(out, "- {fact}")?;
        }
        writeln!(
            out,
            "\n| figure: median (lowest–highest) | ours | peer | ratio | band | reached |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            let peer = row.peer.as_ref().map_or_else(
                || "—".to_owned(),
                |(name, theirs)| format!("{name}: {theirs}"),
            );
            let ratio = match (&row.peer, row.ratio()) {
                (None, _) => "—".to_owned(),
                (_, Some(ratio)) => format!("{ratio:.2} ×"),
                (_, None) => format!("not from fewer than {MIN_RUNS} runs"),
            };
            let reached = row
                .reached()
                .map_or("—", |yes| if yes { "yes" } else { "NO" });
            writeln!(
                out,
                "| {} | {} | {peer} | {ratio} | {} | {reached} |",
                row.what,
                row.ours,
                row.band_text()
            )?;
        }
        writeln!(out)
    }

    /// The table for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let figures = |sample: &Sample| json!(sample.values);
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what,
                "ours": figures(&row.ours),
                "peer": row.peer.as_ref().map(|(name, theirs)| json!({ "name": name, "figures": figures(theirs) })),
                "ratio": row.ratio(),
                "band": row.band_text(),
                "reached": row.reached(),
            })
        });
        json!({ "title": self.title, "machine": self.machine, "rows": rows.collect::<Vec<_>>() })
    }
}

fn machine() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let profile = if cfg!(debug_assertions) {
        "debug build: figures mean nothing"
    } else {
        "release build"
    };
    vec![
        format!(
            "{cores} cores, {}, Linux {}",
            model.trim_start_matches([' ', '\t', ':']),
            read("/proc/sys/kernel/osrelease").trim()
        ),
        format!("kotonoha {}, {profile}", env!("CARGO_PKG_VERSION")),
        format!("load when it began (1 and 5 minutes): {load}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_needs_several_runs() {
        let once = Row::beside(
            "x",
            Sample::of([1.0]),
            "gzip",
            Sample::of([2.0]),
            Band::RatioAtMost(0.6),
        );
        assert_eq!((once.ratio(), once.reached()), (None, None));
        let often = Row::beside(
            "x",
            Sample::of([3.0, 1.0, 1.0]),
            "gzip",
            Sample::of([2.0; 3]),
            Band::RatioAtMost(0.6),
        );
        assert_eq!((often.ratio(), often.reached()), (Some(0.5), Some(true)));
    }

    #[test]
    fn a_band_that_is_missed_is_said() {
        let mut table = Table::new("test");
        table.add(Row::alone(
            "memory, MiB",
            Sample::of([30.0]),
            Band::AtMost(20.0),
        ));
        let mut text = Vec::new();
        table.print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("| memory, MiB | 30.0 | — | — | ≤ 20 | NO |"),
            "{text}"
        );
        assert_eq!(table.json()["rows"][0]["reached"], false);
    }

    #[test]
    fn quantiles_are_of_the_sorted_measurements() {
        let sample = Sample::of((0..=100).rev().map(f64::from));
        let shown: Vec<f64> = [0.0, 0.5, 0.99, 1.0]
            .map(|part| sample.quantile(part))
            .to_vec();
        assert_eq!(shown, [0.0, 50.0, 99.0, 100.0]);
    }
}
