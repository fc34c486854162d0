//! `/usage`: what was used and spent this month, for the owner alone.

use std::collections::BTreeMap;

use daemon_kit::text::Language;

use super::answer::{Reply, Trouble};
use crate::discord::Interaction;
use crate::store::{PlaceRow, UsageRow};
use crate::turn::Rooms;

/// Days shown one by one.
const DAYS: usize = 7;
/// Channels shown one by one: those with the most messages.
const CHANNELS: usize = 8;

pub(super) async fn usage(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    if !is_owner(rooms, interaction.user()).await? {
        return Ok(Reply::new(match language {
            Language::Ja => "これを見られるのは、ボットの持ち主だけです。",
            Language::En => "Only the owner of the bot can see this.",
        }));
    }
    let month = daemon_kit::time::now()
        .to_zoned_datetime(rooms.manner.zone.clone())
        .strftime("%Y-%m")
        .to_string();
    let first = format!("{month}-01");
    let rows = rooms.store.usage_since(first.clone()).await?;
    let mut text = report(&rows, &month, language);
    text.push_str(&places(
        &rooms.store.usage_places_since(first).await?,
        language,
    ));
    Ok(Reply::new(text))
}

async fn is_owner(rooms: &Rooms, user: u64) -> Result<bool, Trouble> {
    if !rooms.manner.owner_ids.is_empty() {
        return Ok(rooms.manner.owner_ids.contains(&user));
    }
    Ok(rooms.rest.application().await?.owners.contains(&user))
}

/// The sum, by model, and the last days.
pub(super) fn report(rows: &[UsageRow], month: &str, language: Language) -> String {
    let mut models: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut days: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut all = Sum::default();
    for row in rows {
        for sum in [
            &mut all,
            models.entry(&row.model).or_default(),
            days.entry(&row.day).or_default(),
        ] {
            sum.add(row);
        }
    }
    let mut text = match language {
        Language::Ja => format!("**{month} の使用量**\n合計: {}\n", all.text(language)),
        Language::En => format!("**Usage of {month}**\nIn all: {}\n", all.text(language)),
    };
    for (model, sum) in models {
        text.extend(["`", model, "`: ", &sum.text(language), "\n"]);
    }
    for (day, sum) in days.iter().rev().take(DAYS) {
        text.extend([*day, ": ", &sum.text(language), "\n"]);
    }
    text
}

/// How many answers were given, and where.
pub(super) fn places(rows: &[PlaceRow], language: Language) -> String {
    let mut channels: BTreeMap<u64, u64> = BTreeMap::new();
    for row in rows {
        *channels.entry(row.channel).or_default() += row.messages;
    }
    let all: u64 = channels.values().sum();
    let mut most: Vec<(u64, u64)> = channels
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    most.sort_by_key(|(channel, count)| (std::cmp::Reverse(*count), *channel));
    let mut text = match language {
        Language::Ja => format!("返事: {all} 件\n"),
        Language::En => format!("Answers: {all}\n"),
    };
    for (channel, count) in most.into_iter().take(CHANNELS) {
        let name = match (channel, language) {
            (0, Language::Ja) => "ダイレクトメッセージなど".to_owned(),
            (0, Language::En) => "direct messages and others".to_owned(),
            _ => format!("<#{channel}>"),
        };
        text.extend([&name, ": ", &count.to_string(), "\n"].map(str::to_owned));
    }
    text
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_micros: u64,
}

impl Sum {
    fn add(&mut self, row: &UsageRow) {
        self.calls += row.calls;
        self.input_tokens += row.input_tokens;
        self.output_tokens += row.output_tokens;
        self.cost_micros += row.cost_micros;
    }

    fn text(&self, language: Language) -> String {
        let Self {
            calls,
            input_tokens,
            output_tokens,
            cost_micros,
        } = self;
        let dollars = *cost_micros as f64 / 1e6;
        match language {
            Language::Ja => format!(
                "{calls} 回、入力 {input_tokens} + 出力 {output_tokens} トークン、{dollars:.4} ドル"
            ),
            Language::En => format!(
                "{calls} calls, {input_tokens} + {output_tokens} tokens, {dollars:.4} dollars"
            ),
        }
    }
}
