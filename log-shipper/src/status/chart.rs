//! This room draws: bars and a calendar, as inline SVG that reads well in light, dark and print, and aloud. Pure.

use std::fmt::Write as _;

/// One bar: label, good part, bad part.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Under the axis, and read aloud.
    pub label: String,
    /// The lower part.
    pub good: f64,
    /// The upper part.
    pub bad: f64,
}

const HEIGHT: f64 = 90.0;
const WIDTH: f64 = 640.0;

/// Bars over time. `says` is what a screen reader reads; every `step`-th label is written.
#[must_use]
pub fn bars(bars: &[Bar], says: &str, step: usize) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.good + bar.bad)
        .fold(1.0_f64, f64::max);
    let slot = WIDTH / bars.len().max(1) as f64;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\"><g>",
        HEIGHT + 18.0,
        escape(says)
    );
    for (number, bar) in bars.iter().enumerate() {
        let x = slot * number as f64;
        let (good, bad) = (bar.good / most * HEIGHT, bar.bad / most * HEIGHT);
        let title = format!(
            "{}: {}{}",
            bar.label,
            shown(bar.good),
            if bar.bad > 0.0 {
                format!(" + {}", shown(bar.bad))
            } else {
                String::new()
            }
        );
        // Writing to a String cannot fail.
        write!(out, "<g><title>{}</title>", escape(&title)).ok();
        piece(&mut out, "g", x, HEIGHT - good, slot, good);
        piece(&mut out, "b", x, HEIGHT - good - bad, slot, bad);
        out.push_str("</g>");
        if number % step.max(1) == 0 {
            write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
                x + slot / 2.0,
                HEIGHT + 14.0,
                escape(&bar.label)
            )
            .ok();
        }
    }
    write!(
        out,
        "<path class=\"x\" d=\"M0 {HEIGHT}H{WIDTH}\"/></g></svg>"
    )
    .ok();
    out
}

fn piece(out: &mut String, class: &str, x: f64, y: f64, slot: f64, height: f64) {
    if height > 0.0 {
        let width = (slot - 2.0).max(1.0);
        write!(out, "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>", x + 1.0, height.max(1.0)).ok();
    }
}

fn shown(number: f64) -> String {
    if number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

/// A day of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Square {
    /// Read aloud, and shown when pointed at.
    pub label: String,
    /// In the square: the day of the month.
    pub day: String,
    /// `g` good, `b` bad, `n` nothing.
    pub class: &'static str,
    /// A sign besides the colour.
    pub sign: &'static str,
}

/// Weeks of seven squares, oldest first.
#[must_use]
pub fn calendar(squares: &[Square], says: &str) -> String {
    let mut out = format!("<ol class=\"cal\" aria-label=\"{}\">", escape(says));
    for square in squares {
        write!(
            out,
            "<li class=\"{}\" title=\"{}\"><span aria-hidden=\"true\">{}<i>{}</i></span><span class=\"sr\">{}</span></li>",
            square.class, escape(&square.label), escape(&square.day), square.sign, escape(&square.label),
        )
        .ok();
    }
    out.push_str("</ol>");
    out
}

/// Text that is safe between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_what_it_shows_and_escapes_it() {
        let drawn = bars(
            &[
                Bar {
                    label: "<1>".into(),
                    good: 2.0,
                    bad: 1.0,
                },
                Bar {
                    label: "2".into(),
                    good: 0.0,
                    bad: 0.0,
                },
            ],
            "a \"chart\"",
            1,
        );
        assert!(drawn.contains("aria-label=\"a &quot;chart&quot;\""));
        assert!(drawn.contains("<title>&lt;1&gt;: 2 + 1</title>"));
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(!bars(&[], "nothing", 1).contains("NaN"));
    }
}
