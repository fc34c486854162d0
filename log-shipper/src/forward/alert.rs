//! This room carries alerts to `ALERT_WEBHOOK_URL`, beside the outbox that the bot empties: Discord's form, ntfy's, or
//! plain JSON. Each alert once; what does not arrive is kept and tried again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_kit::backoff::Backoff;
use daemon_kit::{Language, Shutdown, publish};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::alerts::{Alert, outbox};
use crate::checkpoint;
use crate::forward::Failure;
use crate::forward::http::Http;
use crate::forward::trouble::Cause;
use crate::redact::Redactor;

/// Name of the mark.
const NAME: &str = "webhook";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Discord's bound, in characters.
const DISCORD_LETTERS: usize = 2_000;
/// A webhook takes 30 messages a minute at most.
const PAUSE: Duration = Duration::from_secs(2);
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(2),
    max: Duration::from_secs(900),
    jitter: 0.2,
};

/// How the other side wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `{"content": …}`
    Discord,
    /// The text itself.
    Ntfy,
    /// `{"text": …, "ja": …, "en": …, …}`, which Slack, Mattermost and others take too.
    Json,
}

impl Form {
    /// Guessed from the address, or said after `#`: `#discord`, `#ntfy`, `#json`.
    #[must_use]
    pub fn of(url: &Url) -> Form {
        match url.fragment() {
            Some("discord") => return Form::Discord,
            Some("ntfy") => return Form::Ntfy,
            Some("json") => return Form::Json,
            _ => {}
        }
        let host = url.host_str().unwrap_or("");
        if url.path().contains("/webhooks/") && url.path().contains("/api/") {
            Form::Discord
        } else if host.split('.').any(|part| part == "ntfy") {
            Form::Ntfy
        } else {
            Form::Json
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Mark {
    told: BTreeSet<String>,
}

/// Carries alerts.
pub struct Courier {
    dir: PathBuf,
    http: Http,
    url: Url,
    form: Form,
    language: Language,
    mark: Mark,
    attempts: u32,
}

impl Courier {
    /// Goes on where the mark says. A new webhook is not told what the bot delivered before.
    pub fn new(dir: &Path, http: Http, url: &str, language: Language) -> anyhow::Result<Courier> {
        let mut url = Url::parse(url)?;
        let form = Form::of(&url);
        url.set_fragment(None);
        let mark = if let Ok(bytes) = std::fs::read(checkpoint::path(dir, NAME)) {
            serde_json::from_slice(&bytes).unwrap_or_default()
        } else {
            let delivered = outbox::all(dir)?
                .into_iter()
                .filter(|(_, path)| outbox::is_delivered(path));
            Mark {
                told: delivered.map(|(id, _)| id).collect(),
            }
        };
        Ok(Courier {
            dir: dir.to_owned(),
            http,
            url,
            form,
            language,
            mark,
            attempts: 0,
        })
    }

    /// Carries until shutdown.
    pub fn run(&mut self, redactor: &Redactor, shutdown: &Shutdown) {
        loop {
            let wait = match self.round(redactor, shutdown) {
                Ok(()) => LOOK_EVERY,
                Err(failure) => self.failed(&failure),
            };
            if shutdown.wait(wait) {
                return;
            }
        }
    }

    /// Carries everything that waits.
    pub fn round(&mut self, redactor: &Redactor, shutdown: &Shutdown) -> Result<(), Failure> {
        let local = |error: std::io::Error| Failure {
            why: format!("reading the alerts: {error}"),
            cause: Cause::Other,
            wait: None,
        };
        let found = outbox::all(&self.dir).map_err(local)?;
        let there: BTreeSet<&String> = found.iter().map(|(id, _)| id).collect();
        self.mark.told.retain(|id| there.contains(id));
        for (id, path) in &found {
            if self.mark.told.contains(id) || shutdown.is_soft() {
                continue;
            }
            // The bot may mark it in this very moment: then its other name is found in the next round.
            let Ok(bytes) = std::fs::read(path) else {
                continue;
            };
            let Ok(alert) = serde_json::from_slice::<Alert>(&bytes) else {
                continue;
            };
            self.tell(&alert, redactor)?;
            self.attempts = 0;
            self.mark.told.insert(id.clone());
            let bytes = serde_json::to_vec(&self.mark).unwrap_or_default();
            publish::write(&checkpoint::path(&self.dir, NAME), &bytes, 0o600).map_err(local)?;
            if shutdown.wait(PAUSE) {
                break;
            }
        }
        Ok(())
    }

    fn tell(&self, alert: &Alert, redactor: &Redactor) -> Result<(), Failure> {
        let (kind, body) = body(self.form, alert, self.language, redactor);
        let headers = [
            ("content-type", kind),
            ("title", "kotonoha"),
            ("x-kotonoha-alert", alert.id.as_str()),
        ];
        let reply = self
            .http
            .post(self.url.as_str(), &headers, body.as_bytes())?;
        match reply.status {
            200..=299 => Ok(()),
            status => Err(Failure {
                why: format!("status {status}"),
                cause: Cause::of_status(status),
                wait: reply.retry_after,
            }),
        }
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        // Once per outage, and with a name that never becomes an alert itself.
        if self.attempts == 1 {
            tracing::warn!(event = "alert.webhook_down", error = %failure.why, "the webhook does not take alerts; they wait");
        }
        BACKOFF.delay(self.attempts, failure.wait, 0.5)
    }

    /// One test message; for `test-sink`.
    pub fn test(&self, alert: &Alert, redactor: &Redactor) -> Result<(), Failure> {
        self.tell(alert, redactor)
    }
}

fn body(
    form: Form,
    alert: &Alert,
    language: Language,
    redactor: &Redactor,
) -> (&'static str, String) {
    let text = match language {
        Language::Ja => &alert.ja,
        Language::En => &alert.en,
    };
    let text = redactor.text(text).into_owned();
    match form {
        Form::Discord => {
            let content: String = text.chars().take(DISCORD_LETTERS).collect();
            // Whatever the text says, nobody is pinged.
            (
                "application/json",
                json!({"content": content, "allowed_mentions": {"parse": []}}).to_string(),
            )
        }
        Form::Ntfy => ("text/plain; charset=utf-8", text),
        Form::Json => {
            let body = json!({
                "text": text, "source": "kotonoha", "id": alert.id, "at": alert.at, "kind": alert.kind,
                "severity": alert.severity, "service": alert.service, "event": alert.event, "count": alert.count,
                "ja": redactor.text(&alert.ja), "en": redactor.text(&alert.en),
            });
            ("application/json", body.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_guessed_or_said() {
        let form = |url: &str| Form::of(&Url::parse(url).unwrap());
        assert_eq!(form("https://discord.com/api/webhooks/1/x"), Form::Discord);
        assert_eq!(form("https://ntfy.sh/my-topic"), Form::Ntfy);
        assert_eq!(form("https://nas.local/hook"), Form::Json);
        assert_eq!(form("https://nas.local/hook#ntfy"), Form::Ntfy);
    }

    #[test]
    fn bodies_are_bounded_and_ping_nobody() {
        let alert = Alert {
            v: 1,
            id: "x".into(),
            at: String::new(),
            kind: "error".into(),
            severity: "error".into(),
            service: "bot".into(),
            event: "e".into(),
            count: 1,
            ja: "語".repeat(3_000),
            en: "@everyone".into(),
        };
        let redactor = Redactor::new(Vec::new()).unwrap();
        let (_, ja) = body(Form::Discord, &alert, Language::Ja, &redactor);
        let ja: serde_json::Value = serde_json::from_str(&ja).unwrap();
        assert_eq!(
            ja["content"].as_str().unwrap().chars().count(),
            DISCORD_LETTERS
        );
        assert_eq!(ja["allowed_mentions"]["parse"], json!([]));
        assert_eq!(
            body(Form::Ntfy, &alert, Language::En, &redactor).1,
            "@everyone"
        );
        assert!(
            body(Form::Json, &alert, Language::En, &redactor)
                .1
                .contains("\"source\":\"kotonoha\"")
        );
    }
}
