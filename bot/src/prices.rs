//! What tokens cost: the owner's prices before the built-in ones, and never too little. Pure.

use std::collections::BTreeMap;

use crate::llm::{ModelName, Usage};

/// When the built-in table was last compared with the providers' pages (the pricing and model pages of
/// platform.claude.com, openai.com/api/pricing, ai.google.dev/gemini-api/docs/pricing). Prices change: the owner's own
/// go first.
pub const TABLE_DATE: &str = "2026-11-28";

/// Millionths of a US dollar: the unit in which money is counted everywhere.
pub type Micros = u64;

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
}

/// What something cost, and whether that is known or the dearest guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// How much.
    pub micros: Micros,
    /// False: the model has no price, and was counted as the dearest known.
    pub is_known: bool,
}

/// `provider/model`, dollars read, dollars written.
///
/// Where a model has two prices, by the length of the prompt, the dearer one stands.
const TABLE: [(&str, f64, f64); 27] = [
    ("anthropic/claude-haiku-4-5", 1.0, 5.0),
    ("anthropic/claude-haiku-5-5", 0.5, 2.5),
    ("anthropic/claude-sonnet-4-5", 3.0, 15.0),
    ("anthropic/claude-sonnet-4-6", 3.0, 15.0),
    ("anthropic/claude-sonnet-5-5", 2.0, 10.0),
    ("anthropic/claude-opus-5-5", 4.0, 20.0),
    ("anthropic/claude-opus-5", 5.0, 25.0),
    ("anthropic/claude-opus-4-6", 5.0, 25.0),
    ("anthropic/claude-opus-4-5", 5.0, 25.0),
    ("anthropic/claude-opus-4-1", 15.0, 75.0),
    ("anthropic/claude-sonnet-4", 3.0, 15.0),
    ("anthropic/claude-3-5-haiku", 0.8, 4.0),
    ("openai/gpt-5", 1.25, 10.0),
    ("openai/gpt-5-mini", 0.25, 2.0),
    ("openai/gpt-5-nano", 0.05, 0.4),
    ("openai/gpt-4.1", 2.0, 8.0),
    ("openai/gpt-4.1-mini", 0.4, 1.6),
    ("openai/gpt-4.1-nano", 0.1, 0.4),
    ("openai/gpt-4o", 2.5, 10.0),
    ("openai/gpt-4o-mini", 0.15, 0.6),
    ("openai/o3", 2.0, 8.0),
    ("openai/o4-mini", 1.1, 4.4),
    ("gemini/gemini-2.5-pro", 2.5, 15.0),
    ("gemini/gemini-2.5-flash", 0.3, 2.5),
    ("gemini/gemini-2.5-flash-lite", 0.1, 0.4),
    ("gemini/gemini-2.0-flash", 0.1, 0.4),
    ("gemini/gemini-2.0-flash-lite", 0.075, 0.3),
];

/// All prices in force.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

impl Prices {
    /// The owner's prices, by `provider/model`.
    #[must_use]
    pub fn new(own: BTreeMap<String, Price>) -> Self {
        Self { own }
    }

    /// What `usage` of `model` cost; `is_free` = it runs in the house.
    #[must_use]
    pub fn cost(&self, model: &ModelName, usage: Usage, is_free: bool) -> Cost {
        let name = model.to_string();
        match self
            .own
            .get(&name)
            .copied()
            .or_else(|| self.own_dated(&name))
        {
            Some(price) => Cost {
                micros: micros(price, usage),
                is_known: true,
            },
            None if is_free => Cost {
                micros: 0,
                is_known: true,
            },
            None => match built_in(&name) {
                Some(price) => Cost {
                    micros: micros(price, usage),
                    is_known: true,
                },
                None => Cost {
                    micros: micros(self.dearest(), usage),
                    is_known: false,
                },
            },
        }
    }

    fn own_dated(&self, name: &str) -> Option<Price> {
        self.own
            .iter()
            .find(|(known, _)| is_dated(name, known))
            .map(|(_, price)| *price)
    }

    fn dearest(&self) -> Price {
        let table = TABLE.iter().map(|(_, input, output)| Price {
            input: *input,
            output: *output,
        });
        self.own.values().copied().chain(table).fold(
            Price {
                input: 0.0,
                output: 0.0,
            },
            |dearest, price| Price {
                input: dearest.input.max(price.input),
                output: dearest.output.max(price.output),
            },
        )
    }
}

fn built_in(name: &str) -> Option<Price> {
    let row = TABLE
        .iter()
        .find(|(known, ..)| name == *known || is_dated(name, known))?;
    Some(Price {
        input: row.1,
        output: row.2,
    })
}

/// `gpt-4o-2024-11-20` costs what `gpt-4o` costs; `gpt-4o-mini` does not.
fn is_dated(name: &str, known: &str) -> bool {
    name.strip_prefix(known)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| {
            rest == "latest"
                || (rest.len() >= 8 && rest.chars().all(|c| c.is_ascii_digit() || c == '-'))
        })
}

/// Rounded up: a dollar for a million tokens is a millionth of a dollar for one.
fn micros(price: Price, usage: Usage) -> Micros {
    let exact = price.input * usage.input_tokens as f64 + price.output * usage.output_tokens as f64;
    exact.max(0.0).ceil() as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(prices: &Prices, model: &str, is_free: bool) -> Cost {
        let usage = Usage {
            input_tokens: 1_000_000,
            output_tokens: 1_000_000,
        };
        prices.cost(&model.parse().unwrap(), usage, is_free)
    }

    #[test]
    fn own_prices_go_before_the_table_and_dated_names_cost_the_same() {
        let own = Price {
            input: 2.0,
            output: 3.0,
        };
        let prices = Prices::new(BTreeMap::from([(
            "anthropic/claude-haiku-4-5".to_owned(),
            own,
        )]));
        assert_eq!(
            cost(&prices, "anthropic/claude-haiku-4-5", false).micros,
            5_000_000
        );
        assert_eq!(
            cost(&prices, "anthropic/claude-haiku-4-5-20251001", false).micros,
            5_000_000
        );
        assert_eq!(
            cost(&Prices::default(), "openai/gpt-4o-2024-11-20", false).micros,
            12_500_000
        );
        assert_eq!(
            cost(&Prices::default(), "openai/gpt-4o-mini", false).micros,
            750_000
        );
    }

    #[test]
    fn an_unknown_price_is_the_dearest_and_says_so() {
        let unknown = cost(&Prices::default(), "anthropic/claude-of-the-future", false);
        assert_eq!(
            unknown,
            Cost {
                micros: 90_000_000,
                is_known: false
            }
        );
    }

    #[test]
    fn what_runs_in_the_house_is_free_unless_priced() {
        assert_eq!(
            cost(&Prices::default(), "ollama/llama3.1", true),
            Cost {
                micros: 0,
                is_known: true
            }
        );
        let priced = Prices::new(BTreeMap::from([(
            "ollama/big".to_owned(),
            Price {
                input: 1.0,
                output: 0.0,
            },
        )]));
        assert_eq!(cost(&priced, "ollama/big", true).micros, 1_000_000);
    }

    #[test]
    fn a_single_token_is_never_free() {
        let usage = Usage {
            input_tokens: 1,
            output_tokens: 0,
        };
        let model = "gemini/gemini-2.0-flash".parse().unwrap();
        assert_eq!(Prices::default().cost(&model, usage, false).micros, 1);
    }
}
