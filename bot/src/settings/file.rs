//! The YAML as it is written. Every value checks itself while it is read, so that an error knows its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::Channel;
use crate::llm::ModelName;
use crate::prices;

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) manners: Option<Switch>,
    pub(super) footer: Option<Switch>,
    pub(super) silent: Option<Switch>,
    pub(super) quiet_hours: Option<Quiet>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) names: Vec<String>,
    pub(super) persona: Option<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) personas: BTreeMap<String, PersonaEntry>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) channels: BTreeMap<Id, ChannelEntry>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) prices: BTreeMap<Model, Price>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) distress: DistressEntry,
}

/// A key whose every entry is commented out has no value at all: that is an empty one.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PersonaEntry {
    pub(super) prompt: Option<String>,
    pub(super) manners: Option<Switch>,
    pub(super) max_characters: Option<usize>,
    pub(super) max_questions: Option<usize>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) avoid: Vec<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChannelEntry {
    pub(super) persona: Option<String>,
    threads: Option<Switch>,
    streaming: Option<Switch>,
    eavesdrop: Option<Switch>,
    quiet_hours: Option<Quiet>,
    silent: Option<Switch>,
    model: Option<Model>,
}

impl ChannelEntry {
    pub(super) fn settled(self) -> Channel {
        let value = |switch: Option<Switch>| switch.map(|switch| switch.0);
        Channel {
            persona: self.persona,
            threads: value(self.threads),
            streaming: value(self.streaming),
            eavesdrop: value(self.eavesdrop),
            quiet_hours: self.quiet_hours.map(|quiet| quiet.0),
            silent: value(self.silent),
            model: self.model.map(|model| model.0),
        }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DistressEntry {
    pub(super) card: Option<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) words: Vec<String>,
}

/// on/off, true/false, 1/0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        scalar(from, "on or off", |text| {
            match text.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => Some(Self(true)),
                "off" | "false" | "no" | "0" => Some(Self(false)),
                _ => None,
            }
        })
    }
}

/// A channel's id, with or without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        scalar(from, "a Discord id (a number)", |text| {
            text.parse().ok().filter(|id| *id > 0).map(Self)
        })
    }
}

/// `provider/model`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Model(pub(super) ModelName);

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        scalar(from, "provider/model", |text| text.parse().ok().map(Self))
    }
}

/// Dollars for a million tokens; never negative, never without an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Price(pub(super) prices::Price);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let price = prices::Price::deserialize(from)?;
        let is_price = |dollars: f64| (0.0..=100_000.0).contains(&dollars);
        if is_price(price.input) && is_price(price.output) {
            Ok(Self(price))
        } else {
            Err(de::Error::custom(
                "a price is a number of US dollars for a million tokens, 0 or more",
            ))
        }
    }
}

/// From one time of the day to another, also across midnight: `22:00-07:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Whether a time of the day, in minutes since midnight, is within.
    #[must_use]
    pub fn contain(self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour <= 24 && minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-')?;
        Some(Self {
            from: minute(from)?,
            to: minute(to)?,
        })
    }
}

/// Quiet hours, or none on purpose: a channel may be freer than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quiet(pub(super) Option<Hours>);

impl<'de> Deserialize<'de> for Quiet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        scalar(
            from,
            "hours such as \"22:00-07:00\", or off",
            |text| match text.to_ascii_lowercase().as_str() {
                "off" | "false" | "no" => Some(Self(None)),
                text => Hours::parse(text).map(|hours| Self(Some(hours))),
            },
        )
    }
}

/// A value that YAML may take for a text, a number or a truth, and that we read as one text.
fn scalar<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    from.deserialize_any(Scalar { expected, read })
}

/// Judges while it visits: only an error made there knows its line.
struct Scalar<F> {
    expected: &'static str,
    read: F,
}

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Scalar<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let wrong = || de::Error::custom(format!("\"{text}\": expected {}", self.expected));
        (self.read)(text.trim()).ok_or_else(wrong)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<T, E> {
        self.visit_str(if truth { "true" } else { "false" })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
