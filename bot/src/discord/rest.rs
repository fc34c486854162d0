//! Discord's REST side. serenity knows the routes and keeps the rate-limit buckets; patience and judgement are ours.
//!
//! Against discord.com, serenity's limiter waits for each route. Against another host (a stand-in, a proxy that keeps
//! the limits itself) that limiter would ignore the other host and talk to the real Discord, so it is off there and
//! this room waits alone. The two belong together and are decided in one place, [`Rest::new`].

mod answer;
mod calls;
mod pace;
#[cfg(test)]
mod tests;
mod whispers;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serenity::builder::CreateAttachment;
use serenity::http::{
    HttpError, LightMethod, Multipart, MultipartUpload, Ratelimiter, Request, Route,
};
use tokio::time::{sleep, timeout};

pub use answer::Error;
pub use calls::{App, Door};
use pace::Pace;

/// How often something that may have been carried out, or not, is asked again.
const ATTEMPTS: u32 = 5;
/// One request, waits of serenity's limiter included, never takes longer.
const LONGEST_CALL: Duration = Duration::from_mins(2);
/// A longer pause than this is not waited for by a turn: the member hears a kind note instead.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Pauses in a row that are obeyed before giving up.
const MOST_PAUSES: u32 = 8;
/// More than this is no answer of Discord's to anything we ask.
const MOST_BYTES: usize = 8 << 20;

/// Where Discord keeps attachments.
const FILE_HOSTS: [&str; 2] = ["cdn.discordapp.com", "media.discordapp.net"];

const BACKOFF: daemon_kit::backoff::Backoff = daemon_kit::backoff::Backoff {
    base: Duration::from_millis(400),
    max: Duration::from_secs(8),
    jitter: 0.5,
};

/// The REST side of Discord.
pub struct Rest {
    client: reqwest::Client,
    token: SecretString,
    /// Another host than Discord's, without a slash at its end.
    other_host: Option<String>,
    limiter: Option<Ratelimiter>,
    pace: Arc<Pace>,
}

/// A file that we send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// As it is called when it is saved.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// One thing asked of Discord.
pub(super) struct Ask<'a> {
    route: Route<'a>,
    method: LightMethod,
    body: Option<Vec<u8>>,
    params: Option<Vec<(&'static str, String)>>,
    /// A file that goes along.
    file: Option<&'a File>,
    /// Not worth asking twice.
    once: bool,
    /// Counted by none of Discord's limits on us, and too urgent to wait for one.
    is_unlimited: bool,
}

impl<'a> Ask<'a> {
    fn new(method: LightMethod, route: Route<'a>) -> Self {
        Self {
            route,
            method,
            body: None,
            params: None,
            file: None,
            once: false,
            is_unlimited: false,
        }
    }

    fn body(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self
    }

    fn params(mut self, params: Vec<(&'static str, String)>) -> Self {
        self.params = Some(params);
        self
    }

    fn file(mut self, file: Option<&'a File>) -> Self {
        self.file = file;
        self
    }

    fn once(mut self) -> Self {
        self.once = true;
        self
    }

    fn unlimited(mut self) -> Self {
        self.is_unlimited = true;
        self
    }

    fn request(&self) -> Request<'a> {
        let request = Request::new(self.route, self.method).params(self.params.clone());
        let Some(file) = self.file else {
            return request.body(self.body.clone());
        };
        let body = self.body.as_deref().unwrap_or_default();
        request.multipart(Some(Multipart {
            upload: MultipartUpload::Attachments(vec![CreateAttachment::bytes(
                file.bytes.clone(),
                file.name.clone(),
            )]),
            fields: Vec::new(),
            payload_json: Some(String::from_utf8_lossy(body).into_owned()),
        }))
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest")
            .field("other_host", &self.other_host)
            .finish_non_exhaustive()
    }
}

/// Whether `api_url` is Discord itself, however it is written.
#[must_use]
pub fn is_discord(api_url: &str) -> bool {
    reqwest::Url::parse(api_url.trim()).is_ok_and(|url| {
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_end_matches('.')
            .to_ascii_lowercase();
        url.scheme() == "https" && host == "discord.com" && url.port_or_known_default() == Some(443)
    })
}

/// serenity's limiter lets the other routes ask on while Discord holds back all of them: they wait here.
fn limiter(client: reqwest::Client, token: String, pace: &Arc<Pace>) -> Ratelimiter {
    let mut limiter = Ratelimiter::new(client, token);
    let pace = Arc::clone(pace);
    limiter.set_ratelimit_callback(Box::new(move |limit| {
        if limit.global {
            pace.hold(None, limit.timeout);
        }
    }));
    limiter
}

impl Rest {
    /// `client` carries the timeouts and the trusted roots.
    #[must_use]
    pub fn new(client: reqwest::Client, token: &SecretString, api_url: &str) -> Self {
        let other_host =
            (!is_discord(api_url)).then(|| api_url.trim().trim_end_matches('/').to_owned());
        let is_limited = other_host.is_none();
        let bot_token = format!("Bot {}", token.expose_secret());
        let pace = Arc::new(Pace::new(is_limited));
        let limiter = is_limited.then(|| limiter(client.clone(), bot_token.clone(), &pace));
        Self {
            client,
            token: SecretString::from(bot_token),
            other_host,
            limiter,
            pace,
        }
    }

    /// Whether another host than Discord's is spoken to.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.other_host.is_some()
    }

    /// Whether a file at `url` is one that Discord keeps (or the host that stands in for it): the only addresses from
    /// which attachments are fetched, whatever an event says.
    #[must_use]
    pub fn keeps_files_at(&self, url: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(url) else {
            return false;
        };
        match &self.other_host {
            Some(host) => reqwest::Url::parse(host).is_ok_and(|host| host.origin() == url.origin()),
            None => {
                url.scheme() == "https"
                    && url.port_or_known_default() == Some(443)
                    && url
                        .host_str()
                        .is_some_and(|host| FILE_HOSTS.contains(&host))
            }
        }
    }

    /// Where Discord is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.other_host.as_deref().unwrap_or("https://discord.com")
    }

    /// Discord's clock: ours, corrected by what its answers say.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.pace.corrected(daemon_kit::time::now())
    }

    /// Asks until there is an answer, a refusal, or no more patience. Everything we ask may be asked twice: posts
    /// carry a nonce, a second thread on a message is refused, the rest changes nothing the second time.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Error> {
        let path = ask.route.path();
        let key = format!("{:?} {path}", ask.method);
        let mut pauses = 0;
        let mut attempt = 0;
        loop {
            if !ask.is_unlimited {
                self.pace
                    .wait(&key, LONGEST_PAUSE)
                    .await
                    .map_err(Error::RateLimited)?;
            }
            let failure = match self.once(&ask).await {
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    let (pause, is_global) = answer::pause(response).await;
                    tracing::info!(
                        event = "rest.rate_limited",
                        pause_ms = pause.as_millis() as u64,
                        is_global,
                        "Discord asked to wait"
                    );
                    self.pace.hold((!is_global).then(|| key.clone()), pause);
                    if pauses == MOST_PAUSES || ask.once {
                        return Err(Error::RateLimited(pause));
                    }
                    pauses += 1;
                    continue;
                }
                Ok(response) if response.status().is_server_error() => {
                    Error::Failing(response.status().as_u16())
                }
                Ok(response) if response.status().is_success() => return self.read(response).await,
                Ok(response) => return Err(answer::refusal(response).await),
                Err(error) => error,
            };
            attempt += 1;
            if attempt == ATTEMPTS || ask.once {
                return Err(failure);
            }
            let delay = BACKOFF.delay(attempt - 1, None, fastrand::f64());
            tracing::info!(event = "rest.retry", attempt, error = %failure, "asking Discord again");
            sleep(delay).await;
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let sent = async {
            if let Some(limiter) = self.limiter.as_ref().filter(|_| !ask.is_unlimited) {
                return limiter.perform(ask.request()).await;
            }
            let host = self.other_host.as_deref();
            let request = ask
                .request()
                .build(&self.client, self.token.expose_secret(), host)?;
            let response = self.client.execute(request.build()?).await?;
            Ok(response)
        };
        match timeout(LONGEST_CALL, sent).await {
            Err(_) => Err(Error::TimedOut),
            Ok(Ok(response)) => {
                self.pace.learn_clock(response.headers());
                Ok(response)
            }
            Ok(Err(serenity::Error::Http(HttpError::Request(error)))) if error.is_timeout() => {
                Err(Error::TimedOut)
            }
            // Its text may name the address, which holds ids and tokens of interactions.
            Ok(Err(_)) => Err(Error::Unreachable),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if bytes.len() + piece.len() <= MOST_BYTES => {
                    bytes.extend_from_slice(&piece);
                }
                Ok(None) => return Ok(bytes),
                // It was carried out: that is known, the answer is not.
                Ok(Some(_)) | Err(_) => return Err(Error::Unreadable),
            }
        }
    }
}
