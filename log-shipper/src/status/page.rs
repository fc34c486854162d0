//! This room writes the page: one file, no scripts or fonts from elsewhere, Japanese or English. Pure.

mod sections;

use std::fmt::Write as _;

use daemon_kit::{Language, Text};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::chart::escape;
use super::report::{Card, Report, Verdict};
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
        let span = self.report.written - at;
        if span < 60_000 {
            return self.say("たった今", "just now").to_owned();
        }
        match self.language {
            Language::Ja => format!("{}前", self.span(span)),
            Language::En => format!("{} ago", self.span(span)),
        }
    }

    /// How long, as people say it.
    fn span(&self, millis: i64) -> String {
        let minutes = millis.max(0) / 60_000;
        let ja = self.language == Language::Ja;
        match minutes {
            0..60 if ja => format!("{minutes} 分"),
            0..60 => format!("{minutes} min"),
            60..2_880 if ja => format!("{} 時間", minutes / 60),
            60..2_880 => format!("{} h", minutes / 60),
            _ if ja => format!("{} 日", minutes / 1_440),
            _ => format!("{} days", minutes / 1_440),
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
            if seen.started > 0 {
                bot.push(format!(
                    "{}: {}",
                    self.say("起動", "started"),
                    self.clock(seen.started)
                ));
            }
            if let Some(since) = report.connected_since {
                bot.push(format!(
                    "{}: {}",
                    self.say("つながっている", "answering since"),
                    self.clock(since)
                ));
            }
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
            (self.say("費用", "Cost"), &report.money),
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
        self.plain_table(name, heads, rows);
        self.out.push_str("</details>");
    }

    /// A table that can be reached and scrolled by keyboard where it is wider than the screen.
    fn plain_table(&mut self, name: &str, heads: &[&str], rows: &[Vec<String>]) {
        self.add(format_args!(
            "<div class=\"t\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>",
            escape(name)
        ));
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
