//! This room writes the page: one file, no scripts or fonts from elsewhere, Japanese or English. Pure.

use std::fmt::Write as _;

use daemon_kit::{Language, Text};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::chart::{self, Bar, Square, escape};
use super::report::{Card, Report, Verdict};
use crate::line::Level;
use crate::stats::shown_bytes;

const STYLE: &str = include_str!("page.css");
/// Greys the page when it is older than it should ever be; everything else works without scripts.
const STALE: &str = "(function(){var b=document.body,w=+b.dataset.written;function f(){if(Date.now()-w>8100000)b.className='stale'}f();setInterval(f,60000)})()";

struct Page<'a> {
    report: &'a Report,
    language: Language,
    zone: &'a TimeZone,
    out: String,
}

/// The whole page.
#[must_use]
pub fn render(report: &Report, language: Language, zone: &TimeZone) -> String {
    let mut page = Page {
        report,
        language,
        zone,
        out: String::with_capacity(64 << 10),
    };
    page.head();
    page.cards();
    page.talk();
    page.money();
    page.backups();
    page.volume();
    page.troubles();
    page.programs();
    page.foot();
    page.out
}

impl Page<'_> {
    fn say(&self, ja: &'static str, en: &'static str) -> &'static str {
        match self.language {
            Language::Ja => ja,
            Language::En => en,
        }
    }

    fn text<'t>(&self, text: &'t Text) -> &'t str {
        text.in_language(self.language)
    }

    /// Appends; writing to a String cannot fail.
    fn add(&mut self, pieces: std::fmt::Arguments<'_>) {
        self.out.write_fmt(pieces).ok();
    }

    fn when(&self, at: i64, format: &str) -> String {
        let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned_datetime(self.zone.clone())
            .strftime(format)
            .to_string()
    }

    fn clock(&self, at: i64) -> String {
        self.when(at, "%Y-%m-%d %H:%M")
    }

    /// How long ago, as people say it.
    fn ago(&self, at: i64) -> String {
        let minutes = (self.report.written - at).max(0) / 60_000;
        let ja = self.language == Language::Ja;
        match minutes {
            0 => self.say("たった今", "just now").to_owned(),
            1..60 if ja => format!("{minutes} 分前"),
            1..60 => format!("{minutes} min ago"),
            60..2_880 if ja => format!("{} 時間前", minutes / 60),
            60..2_880 => format!("{} h ago", minutes / 60),
            _ if ja => format!("{} 日前", minutes / 1_440),
            _ => format!("{} days ago", minutes / 1_440),
        }
    }

    fn head(&mut self) {
        let (lang, title) = (
            self.say("ja", "en"),
            self.say("言の葉のようす", "How kotonoha is"),
        );
        let written = self.report.written;
        let (at, ago) = (self.clock(written), self.say("作成", "written"));
        let old = self.say(
            "この表示は古くなっています。log-shipper が止まっているかもしれません。",
            "This page is out of date: the log-shipper may have stopped.",
        );
        self.add(format_args!(
            "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"><title>{title}</title><style>{STYLE}</style></head><body data-written=\"{written}\"><header><h1>{title}</h1><p>{ago} <time>{at}</time></p><p class=\"old\" role=\"status\">{old}</p></header><main>"
        ));
    }

    fn cards(&mut self) {
        let report = self.report;
        let mut bot = Vec::new();
        if let Some((_, seen)) = report.services.iter().find(|(name, _)| name == "bot") {
            bot.push(format!(
                "{}: {}",
                self.say("起動", "since"),
                self.clock(seen.started)
            ));
        }
        if let Some(at) = report.last_answer {
            bot.push(format!(
                "{}: {}",
                self.say("最後の返事", "last answer"),
                self.ago(at)
            ));
        }
        let mut backup = Vec::new();
        if let Some(archive) = &report.archive {
            backup.push(format!(
                "{}: {} ({})",
                self.say("最新", "newest"),
                self.ago(archive.at),
                shown_bytes(archive.bytes)
            ));
        }
        backup.push(match report.drill {
            Some((at, true)) => format!(
                "{}: {}",
                self.say("復元の練習に成功", "restore drill passed"),
                self.ago(at)
            ),
            Some((at, false)) => format!(
                "{}: {}",
                self.say("復元の練習に失敗", "restore drill failed"),
                self.ago(at)
            ),
            None => self
                .say("復元の練習はまだです", "no restore drill yet")
                .to_owned(),
        });
        let (free, used, limit) = report.space;
        let mut disk: Vec<String> = free
            .map(|free| format!("{}: {}", self.say("空き", "free"), shown_bytes(free)))
            .into_iter()
            .collect();
        disk.push(format!(
            "{}: {} / {}",
            self.say("ログ", "logs"),
            shown_bytes(used),
            shown_bytes(limit)
        ));
        self.out.push_str("<section class=\"cards\">");
        self.card(self.say("応答", "Answering"), &report.bot, &bot);
        self.card(self.say("バックアップ", "Backup"), &report.backup, &backup);
        self.card(self.say("ディスク", "Disk"), &report.disk, &disk);
        self.todo();
        self.out.push_str("</section>");
    }

    fn card(&mut self, name: &str, card: &Card, facts: &[String]) {
        let (class, sign) = look(card.verdict);
        let says = escape(self.text(&card.says));
        self.add(format_args!("<article class=\"card {class}\"><h2>{name}</h2><p class=\"v\"><b aria-hidden=\"true\">{sign}</b> {says}</p><ul>"));
        for fact in facts {
            self.add(format_args!("<li>{}</li>", escape(fact)));
        }
        self.out.push_str("</ul></article>");
    }

    fn todo(&mut self) {
        let report = self.report;
        let cards = [
            (self.say("応答", "Answering"), &report.bot),
            (self.say("バックアップ", "Backup"), &report.backup),
            (self.say("ディスク", "Disk"), &report.disk),
        ];
        let steps: Vec<String> = cards
            .iter()
            .filter_map(|(name, card)| {
                card.todo
                    .as_ref()
                    .map(|todo| format!("<li><b>{name}</b> {}</li>", escape(self.text(todo))))
            })
            .collect();
        let title = self.say("やること", "What to do");
        if steps.is_empty() {
            let none = self.say(
                "ありません。このままで大丈夫です。",
                "Nothing. All is well.",
            );
            self.add(format_args!(
                "<article class=\"card good\"><h2>{title}</h2><p class=\"v\">{none}</p></article>"
            ));
        } else {
            self.add(format_args!(
                "<article class=\"card warn\"><h2>{title}</h2><ol>{}</ol></article>",
                steps.concat()
            ));
        }
    }

    fn talk(&mut self) {
        let report = self.report;
        let hours = report.hours.iter().map(|(hour, what)| Bar {
            label: self.when(hour * 3_600_000, "%H"),
            good: what.answers as f64,
            bad: what.failures as f64,
        });
        let days = report.days.iter().map(|(date, what)| Bar {
            label: date[5..].replace('-', "/"),
            good: what.answers as f64,
            bad: what.failures as f64,
        });
        let (hours, days): (Vec<Bar>, Vec<Bar>) = (hours.collect(), days.collect());
        let title = self.say("会話", "Talk");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.turns(self.say("24 時間", "24 hours"), &hours, 3);
        self.turns(self.say("35 日", "35 days"), &days, 5);
        self.speed();
        let days = report.days.iter().rev().take(14);
        let rows = days.map(|(date, day)| {
            vec![
                date.clone(),
                day.answers.to_string(),
                day.failures.to_string(),
            ]
        });
        let heads = [
            self.say("日", "day"),
            self.say("返事", "answers"),
            self.say("失敗", "failures"),
        ];
        self.table(
            self.say("日ごとの数", "numbers by day"),
            &heads,
            &rows.collect::<Vec<_>>(),
        );
        self.out.push_str("</section>");
    }

    /// Answers and failures as bars, and their sums in words.
    fn turns(&mut self, span: &str, bars: &[Bar], step: usize) {
        let good: f64 = bars.iter().map(|bar| bar.good).sum();
        let bad: f64 = bars.iter().map(|bar| bar.bad).sum();
        let (answers, failures) = (self.say("返事", "answers"), self.say("失敗", "failures"));
        let says = format!("{answers} {good:.0}, {failures} {bad:.0}");
        let drawn = chart::bars(bars, &format!("{span}: {says}"), step);
        self.add(format_args!(
            "<figure><figcaption>{span}: <b>{says}</b></figcaption>{drawn}</figure>"
        ));
    }

    fn speed(&mut self) {
        let seconds = |millis: Option<u64>| {
            millis.map_or_else(
                || "–".to_owned(),
                |millis| format!("{:.1} s", millis as f64 / 1_000.0),
            )
        };
        let (median, tail) = self.report.answer_ms;
        let failovers: u64 = self.report.days.iter().map(|(_, day)| day.failovers).sum();
        self.out.push_str("<dl>");
        self.pair(
            self.say("返事の速さ (中央値、7 日)", "answer time (median, 7 days)"),
            &seconds(median),
        );
        self.pair(
            self.say("遅いほう (95%)", "slow tail (95%)"),
            &seconds(tail),
        );
        self.pair(
            self.say("モデルの切り替え (35 日)", "failovers (35 days)"),
            &failovers.to_string(),
        );
        self.out.push_str("</dl>");
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.add(format_args!(
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escape(name),
            escape(value)
        ));
    }

    /// A table behind a click: the same numbers without a picture.
    fn table(&mut self, name: &str, heads: &[&str], rows: &[Vec<String>]) {
        self.add(format_args!("<details><summary>{}</summary>", escape(name)));
        self.plain_table(heads, rows);
        self.out.push_str("</details>");
    }

    fn plain_table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        self.out.push_str("<div class=\"t\"><table><thead><tr>");
        for head in heads {
            self.add(format_args!("<th scope=\"col\">{}</th>", escape(head)));
        }
        self.out.push_str("</tr></thead><tbody>");
        for row in rows {
            self.out.push_str("<tr>");
            for cell in row {
                self.add(format_args!("<td>{}</td>", escape(cell)));
            }
            self.out.push_str("</tr>");
        }
        self.out.push_str("</tbody></table></div>");
    }

    fn money(&mut self) {
        let month = &self.report.month;
        let (tokens_in, tokens_out, cost) = (
            month.tokens_in.to_string(),
            month.tokens_out.to_string(),
            month.cost,
        );
        let title = self.say("今月の費用", "Cost this month");
        self.add(format_args!("<section><h2>{title}</h2>"));
        let budget = self.report.budget.filter(|budget| *budget > 0.0);
        if let Some(budget) = budget {
            let share = (cost / budget).clamp(0.0, 1.0) * 100.0;
            let says = self.say("予算に対する割合", "share of the budget");
            self.add(format_args!("<div class=\"meter\" role=\"img\" aria-label=\"{says} {share:.0}%\"><i style=\"width:{share:.1}%\"></i></div>"));
        }
        self.out.push_str("<dl>");
        let spent = budget.map_or_else(
            || format!("${cost:.2}"),
            |budget| format!("${cost:.2} / ${budget:.2}"),
        );
        self.pair(self.say("費用", "cost"), &spent);
        self.pair(self.say("入力トークン", "tokens in"), &tokens_in);
        self.pair(self.say("出力トークン", "tokens out"), &tokens_out);
        self.out.push_str("</dl></section>");
    }

    fn backups(&mut self) {
        let report = self.report;
        let squares: Vec<Square> = report
            .days
            .iter()
            .map(|(date, day)| {
                let (class, sign, says) = match day.backups {
                    (0, 0) => ("n", "", self.say("なし", "none")),
                    (_, 0) => ("g", "✓", self.say("検証済み", "verified")),
                    (0, _) => ("b", "✗", self.say("失敗", "failed")),
                    (_, _) => (
                        "w",
                        "!",
                        self.say("失敗のあと成功", "failed, then verified"),
                    ),
                };
                Square {
                    label: format!("{date}: {says}"),
                    day: date[8..].to_owned(),
                    class,
                    sign,
                }
            })
            .collect();
        let done: u32 = report.days.iter().map(|(_, day)| day.backups.0).sum();
        let (title, says) = (
            self.say("バックアップ (35 日)", "Backups (35 days)"),
            format!("{} {done}", self.say("検証済み", "verified")),
        );
        self.add(format_args!(
            "<section><h2>{title}</h2>{}",
            chart::calendar(&squares, &says)
        ));
        if let Some(archive) = &report.archive {
            let (name, at) = (escape(&archive.name), self.clock(archive.at));
            self.add(format_args!("<p><code>{name}</code> {at}</p>"));
        }
        let sizes: Vec<Bar> = report
            .sizes
            .iter()
            .map(|(at, bytes)| Bar {
                label: self.when(*at, "%m/%d"),
                good: *bytes as f64 / 1_048_576.0,
                bad: 0.0,
            })
            .collect();
        if sizes.len() > 1 {
            let says = self.say("大きさ (MB)", "size (MB)");
            self.add(format_args!(
                "<figure><figcaption>{says}</figcaption>{}</figure>",
                chart::bars(&sizes, says, 10)
            ));
        }
        self.out.push_str("</section>");
    }

    fn volume(&mut self) {
        let mut sums: std::collections::BTreeMap<&str, ([u64; 6], u64)> =
            std::collections::BTreeMap::new();
        for (_, day) in self.report.days.iter().rev().take(7) {
            for (service, (levels, bytes)) in &day.volume {
                let sum = sums.entry(service).or_default();
                sum.1 += bytes;
                for (sum, count) in sum.0.iter_mut().zip(levels) {
                    *sum += count;
                }
            }
        }
        let rows: Vec<Vec<String>> = sums
            .iter()
            .map(|(service, (levels, bytes))| {
                let level = |level: Level| levels[level as usize];
                let all: u64 = levels.iter().sum();
                vec![
                    (*service).to_owned(),
                    all.to_string(),
                    level(Level::Error).to_string(),
                    level(Level::Warn).to_string(),
                    shown_bytes(*bytes),
                ]
            })
            .collect();
        let title = self.say("ログの量 (7 日)", "Log volume (7 days)");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.plain_table(
            &[
                self.say("サービス", "service"),
                self.say("行", "lines"),
                "ERROR",
                "WARN",
                self.say("大きさ", "size"),
            ],
            &rows,
        );
        self.out.push_str("</section>");
    }

    fn troubles(&mut self) {
        let rows: Vec<Vec<String>> = self
            .report
            .troubles
            .iter()
            .map(|trouble| {
                vec![
                    trouble.service.clone(),
                    trouble.event.clone(),
                    trouble.count.to_string(),
                    self.clock(trouble.last),
                ]
            })
            .collect();
        let title = self.say("最近のエラー", "Latest errors");
        self.add(format_args!("<section><h2>{title}</h2>"));
        if rows.is_empty() {
            let none = self.say("ありません。", "None.");
            self.add(format_args!("<p>{none}</p>"));
        } else {
            self.plain_table(
                &[
                    self.say("サービス", "service"),
                    self.say("出来事", "event"),
                    self.say("回数", "times"),
                    self.say("最後", "last"),
                ],
                &rows,
            );
        }
        self.out.push_str("</section>");
    }

    fn programs(&mut self) {
        let rows: Vec<Vec<String>> = self
            .report
            .services
            .iter()
            .map(|(name, seen)| {
                vec![
                    name.clone(),
                    seen.build.clone(),
                    self.clock(seen.started),
                    self.ago(seen.last),
                ]
            })
            .collect();
        let title = self.say("プログラム", "Programs");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.plain_table(
            &[
                self.say("名前", "name"),
                self.say("版", "version"),
                self.say("起動", "started"),
                self.say("最後の記録", "last line"),
            ],
            &rows,
        );
        self.out.push_str("</section>");
    }

    fn foot(&mut self) {
        let says = self.say(
            "このページには会話の内容も名前も含まれません。",
            "This page holds nothing that anyone said, and no names.",
        );
        self.add(format_args!(
            "</main><footer><p>{says}</p></footer><script>{STALE}</script></body></html>\n"
        ));
    }
}

fn look(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Good => ("good", "✓"),
        Verdict::Unknown => ("none", "–"),
        Verdict::Warning => ("warn", "!"),
        Verdict::Bad => ("bad", "✗"),
    }
}
