//! A stand-in model server for the tests of this room: answers one scripted answer a connection, and remembers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Config, Endpoint, ModelName};

/// What one connection is answered.
#[derive(Clone)]
pub(super) struct Script {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<Vec<u8>>,
    stalls: bool,
}

impl Script {
    pub(super) fn stream(body: &str) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "text/event-stream".into())],
            pieces: vec![body.into()],
            stalls: false,
        }
    }

    pub(super) fn json(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".into())],
            pieces: vec![body.into()],
            stalls: false,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// More of the same answer.
    pub(super) fn then(mut self, body: &str) -> Self {
        self.pieces.push(body.into());
        self
    }

    /// Never says another byte, and never closes.
    pub(super) fn stalling(mut self) -> Self {
        self.stalls = true;
        self
    }

    /// An Anthropic stream that says `text` and, if `whole`, ends as it should.
    pub(super) fn anthropic(text: &str, whole: bool) -> Self {
        let delta = serde_json::json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": text } });
        let mut body = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"usage\":{{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}}}}\n\nevent: ping\ndata: {{\"type\":\"ping\"}}\n\ndata: {delta}\n\n"
        );
        if whole {
            body.push_str("data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\ndata: {\"type\":\"message_stop\"}\n\n");
        }
        Self::stream(&body)
    }

    /// An Anthropic error answer.
    pub(super) fn error(status: u16, kind: &str) -> Self {
        Self::json(
            status,
            &format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"no\"}}}}"),
        )
    }
}

/// What came in.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Value,
}

pub(super) struct StandIn {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl StandIn {
    /// Answers the scripts in order, the last one for ever.
    pub(super) async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut scripts = scripts.into_iter().peekable();
            while let Ok((stream, _)) = listener.accept().await {
                let script = scripts.next().unwrap();
                if scripts.peek().is_none() {
                    scripts = vec![script.clone()].into_iter().peekable();
                }
                tokio::spawn(serve(stream, script, Arc::clone(&log)));
            }
        });
        Self { url, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            bytes.drain(..end + 4);
            break (head, length.unwrap_or(0));
        }
    };
    while bytes.len() < length {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    log.lock().unwrap().push(Seen { head, body });
    let mut answer = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", script.status);
    for (name, value) in script.headers {
        answer += &(name.to_owned() + ": " + &value + "\r\n");
    }
    answer.push_str("\r\n");
    // Who is asked may have gone: that is no concern of the stand-in.
    drop(stream.write_all(answer.as_bytes()).await);
    for piece in script.pieces {
        drop(stream.write_all(&piece).await);
    }
    if script.stalls {
        std::future::pending::<()>().await;
    }
    drop(stream.shutdown().await);
}

/// Settings whose every provider is at `url`, and which do not wait long between attempts.
pub(super) fn config(url: &str, model: &str, fallbacks: &[&str]) -> Config {
    let name = |text: &str| text.parse::<ModelName>().unwrap();
    let endpoint = |path: &str| Endpoint {
        base_url: format!("{url}{path}"),
        key: Some("sk-canary".to_owned().into()),
    };
    Config {
        model: name(model),
        fallbacks: fallbacks.iter().map(|text| name(text)).collect(),
        temperature: 0.5,
        max_tokens: 100,
        max_retries: 3,
        retry_base: Duration::from_millis(1),
        timeout: Duration::from_secs(30),
        context_tokens: 4000,
        anthropic: endpoint(""),
        openai: endpoint("/v1"),
        gemini: endpoint("/gemini"),
        ollama: endpoint(""),
    }
}
