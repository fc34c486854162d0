//! This room is `test-sink`: one line to every sink, and in plain words what came of it.

use std::io::Write;

use anyhow::bail;
use daemon_kit::{Text, time};

use crate::alerts::Alert;
use crate::config::{Config, SERVICE};
use crate::forward::syslog::Transport;
use crate::forward::trouble::Cause;
use crate::forward::{Failure, Sent};
use crate::redact::Redactor;
use crate::resident;

/// Sends a line to every sink that is set; an error when one of them did not take it.
pub(super) fn test(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut sinks = resident::sinks(config)?;
    let courier = resident::courier(config)?;
    let now = time::now();
    let zoned = now.to_zoned_datetime(config.zone.clone());
    let ts = zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
    let line = serde_json::json!({
        "ts": ts, "level": "INFO", "service": SERVICE, "event": "sink.test", "msg": "a test line of kotonoha / 言の葉のテスト",
    });
    let mut outcomes = Vec::new();
    for sink in &mut sinks {
        let sent = sink.send(SERVICE, &[line.to_string()], now.as_millisecond());
        outcomes.push((sink.name(), refused(sent)));
    }
    if let Some(courier) = &courier {
        let redactor = Redactor::new(config.secrets())?;
        outcomes.push(("webhook", courier.test(&test_alert(&ts), &redactor)));
    }
    if outcomes.is_empty() {
        let none = Text::new(
            "送信先は設定されていません (SYSLOG_URL, LOKI_URL, ALERT_WEBHOOK_URL)",
            "no sink is set: SYSLOG_URL, LOKI_URL, ALERT_WEBHOOK_URL",
        );
        writeln!(out, "{}", none.in_language(config.language))?;
    }
    for (name, outcome) in &outcomes {
        tell(config, name, outcome, out)?;
    }
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err());
    match failed.count() {
        0 => Ok(()),
        // Said before the last word on standard error.
        failed => {
            out.flush()?;
            bail!("{failed} of {} sinks did not take the line", outcomes.len())
        }
    }
}

/// A sink that takes the request and not the line has not taken it.
fn refused(sent: Result<Sent, Failure>) -> Result<(), Failure> {
    match sent? {
        Sent { refused: 0, .. } => Ok(()),
        Sent { .. } => Err(Failure {
            why: "the line was refused".to_owned(),
            cause: Cause::Line,
            wait: None,
        }),
    }
}

fn tell(
    config: &Config,
    name: &str,
    outcome: &Result<(), Failure>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    match outcome {
        Ok(()) => {
            let sent = Text::new("送りました", "sent");
            let sent = sent.in_language(config.language);
            let hint = hint(config, name);
            let hint = hint.map_or(String::new(), |hint| {
                format!(" ({})", hint.in_language(config.language))
            });
            writeln!(out, "✓ {name}: {sent}{hint}")
        }
        Err(failure) => {
            let says = failure.cause.says(resident::has_way_out());
            writeln!(out, "✗ {name}: {}", says.in_language(config.language))?;
            writeln!(out, "    ({})", failure.why)
        }
    }
}

fn hint(config: &Config, sink: &str) -> Option<Text> {
    let target = config.syslog.as_ref().filter(|_| sink == "syslog")?;
    Some(if target.transport == Transport::Udp {
        Text::new(
            "UDP は届いたかどうか分かりません。ログセンターに「言の葉のテスト」があるか見てください",
            "UDP is not acknowledged: look into the log centre for \"a test line of kotonoha\"",
        )
    } else {
        Text::new(
            "ログセンターに「言の葉のテスト」があるか見てください",
            "look into the log centre for \"a test line of kotonoha\"",
        )
    })
}

fn test_alert(at: &str) -> Alert {
    Alert {
        v: 1,
        id: "test".to_owned(),
        at: at.to_owned(),
        kind: "test".to_owned(),
        severity: "info".to_owned(),
        service: SERVICE.to_owned(),
        event: "sink.test".to_owned(),
        count: 1,
        ja: "✅ 言の葉のお知らせのテストです。".to_owned(),
        en: "✅ A test alert of kotonoha.".to_owned(),
    }
}
