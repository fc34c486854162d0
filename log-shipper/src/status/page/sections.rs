//! This room writes what is below the fold: talk, cost, backups, volume, errors, programs. Pure.

use std::collections::BTreeMap;

use super::Page;
use crate::line::Level;
use crate::stats::shown_bytes;
use crate::status::chart::{self, Bar, Square, escape};
use crate::status::report::calendar::Mark;

impl Page<'_> {
    pub(super) fn talk(&mut self) {
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
        let asked: (u64, u64) = (
            report.hours.iter().map(|(_, hour)| hour.messages).sum(),
            report.days.iter().map(|(_, day)| day.messages).sum(),
        );
        let title = self.say("会話", "Talk");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.turns(self.say("24 時間", "24 hours"), asked.0, &hours, 3);
        self.turns(self.say("35 日", "35 days"), asked.1, &days, 5);
        self.speed();
        let days = report.days.iter().rev().take(14);
        let rows = days.map(|(date, day)| {
            vec![
                date.clone(),
                day.messages.to_string(),
                day.answers.to_string(),
                day.failures.to_string(),
            ]
        });
        let heads = [
            self.say("日", "day"),
            self.say("届いた言葉", "messages"),
            self.say("返事", "answers"),
            self.say("失敗", "failures"),
        ];
        self.table(
            self.say("日ごとの数", "numbers by day"),
            &heads,
            &rows.collect::<Vec<_>>(),
        );
        let hours = report.hours.iter().rev().map(|(hour, what)| {
            vec![
                self.when(hour * 3_600_000, "%m/%d %H:00"),
                what.messages.to_string(),
                what.answers.to_string(),
                what.failures.to_string(),
            ]
        });
        let (hours, heads) = (
            hours.collect::<Vec<_>>(),
            [self.say("時", "hour"), heads[1], heads[2], heads[3]],
        );
        self.table(self.say("時間ごとの数", "numbers by hour"), &heads, &hours);
        self.out.push_str("</section>");
    }

    /// Answers and failures as bars, and their sums in words.
    fn turns(&mut self, span: &str, asked: u64, bars: &[Bar], step: usize) {
        let good: f64 = bars.iter().map(|bar| bar.good).sum();
        let bad: f64 = bars.iter().map(|bar| bar.bad).sum();
        let messages = self.say("届いた言葉", "messages");
        let (answers, failures) = (self.say("返事", "answers"), self.say("失敗", "failures"));
        let says = format!("{messages} {asked}, {answers} {good:.0}, {failures} {bad:.0}");
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

    pub(super) fn money(&mut self) {
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

    pub(super) fn backups(&mut self) {
        let report = self.report;
        let squares: Vec<Square> = report
            .calendar
            .iter()
            .map(|(date, mark)| {
                let (class, sign, says) = match mark {
                    Mark::None => ("n", "", self.say("なし", "none")),
                    Mark::Verified => ("g", "✓", self.say("検証済み", "verified")),
                    Mark::Failed => ("b", "✗", self.say("失敗", "failed")),
                    Mark::Missed => ("b", "–", self.say("取れていません", "missed")),
                    Mark::Mended => (
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
        let failed: u32 = report.days.iter().map(|(_, day)| day.backups.1).sum();
        let missed = report.calendar.iter();
        let missed = missed.filter(|(_, mark)| *mark == Mark::Missed).count();
        let (title, says) = (
            self.say("バックアップ (35 日)", "Backups (35 days)"),
            format!(
                "✓ {} {done}, ✗ {} {failed}, – {} {missed}",
                self.say("検証済み", "verified"),
                self.say("失敗", "failed"),
                self.say("取れなかった日", "days missed"),
            ),
        );
        self.add(format_args!(
            "<section><h2>{title}</h2><p>{says}</p>{}",
            chart::calendar(&squares, title)
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
            let range = sizes.iter().map(|bar| bar.good);
            let (least, most) = (
                range.clone().fold(f64::MAX, f64::min),
                range.fold(0.0, f64::max),
            );
            let says = format!("{says}: {least:.1} – {most:.1}");
            self.add(format_args!(
                "<figure><figcaption>{says}</figcaption>{}</figure>",
                chart::bars(&sizes, &says, 10)
            ));
        }
        self.out.push_str("</section>");
    }

    pub(super) fn volume(&mut self) {
        let mut sums: BTreeMap<&str, ([u64; 6], u64)> = BTreeMap::new();
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
                    level(Level::Info).to_string(),
                    (level(Level::Debug) + level(Level::Trace) + levels[5]).to_string(),
                    shown_bytes(*bytes),
                ]
            })
            .collect();
        let title = self.say("ログの量 (7 日)", "Log volume (7 days)");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.plain_table(
            title,
            &[
                self.say("サービス", "service"),
                self.say("行", "lines"),
                "ERROR",
                "WARN",
                "INFO",
                self.say("ほか", "other"),
                self.say("大きさ", "size"),
            ],
            &rows,
        );
        self.out.push_str("</section>");
    }

    pub(super) fn troubles(&mut self) {
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
                title,
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

    pub(super) fn programs(&mut self) {
        let rows: Vec<Vec<String>> = self
            .report
            .services
            .iter()
            .map(|(name, seen)| {
                let uptime = if seen.stopped {
                    self.say("停止中", "stopped").to_owned()
                } else {
                    self.span(self.report.written - seen.started)
                };
                // A program whose first line was pruned long ago has no known start.
                let (started, uptime) = if seen.started == 0 {
                    ("–".to_owned(), "–".to_owned())
                } else {
                    (self.clock(seen.started), uptime)
                };
                vec![
                    name.clone(),
                    seen.build.clone(),
                    started,
                    uptime,
                    self.ago(seen.last),
                ]
            })
            .collect();
        let title = self.say("プログラム", "Programs");
        self.add(format_args!("<section><h2>{title}</h2>"));
        self.plain_table(
            title,
            &[
                self.say("名前", "name"),
                self.say("版", "version"),
                self.say("起動", "started"),
                self.say("動いている長さ", "up for"),
                self.say("最後の記録", "last line"),
            ],
            &rows,
        );
        self.out.push_str("</section>");
    }
}
