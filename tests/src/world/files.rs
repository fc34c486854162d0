//! Files that members attach: served as Discord's own host would, or failing as scripted.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::World;
use super::state::Shared;

/// What happens when a file is asked for.
#[derive(Clone, Debug)]
pub enum FileAct {
    /// It comes.
    Bytes(Vec<u8>),
    /// Its first byte comes, and nothing more, for ever.
    Stall,
    /// A status and no file.
    Status(u16),
    /// It is said to be elsewhere.
    Moved(String),
}

/// The files there are.
#[derive(Default)]
pub struct FileState {
    acts: BTreeMap<String, FileAct>,
    /// Paths that were asked for, in order.
    pub asked: Vec<String>,
}

impl World {
    /// An attachment as Discord describes it; `act` is what happens when it is fetched.
    pub fn file(&self, name: &str, media_type: &str, act: FileAct) -> Value {
        let size = match &act {
            FileAct::Bytes(bytes) => bytes.len(),
            _ => 10,
        };
        let url = self.with(|state| {
            let path = format!("/attachments/{}/file", state.id());
            state.files.acts.insert(path.clone(), act);
            format!("{}{path}", state.url)
        });
        self.file_at(name, media_type, (&url, size))
    }

    /// An attachment at any address.
    pub fn file_at(&self, name: &str, media_type: &str, (url, size): (&str, usize)) -> Value {
        let id = self.with(super::state::State::id);
        json!({
            "id": id.to_string(), "filename": name, "size": size, "url": url, "proxy_url": "", "content_type": media_type,
        })
    }
}

/// Serves `/attachments/**`.
pub(crate) fn serve(world: &Arc<Shared>, path: &str) -> Response {
    let act = world.with(|state| {
        state.files.asked.push(path.to_owned());
        state.files.acts.get(path).cloned()
    });
    match act {
        Some(FileAct::Bytes(bytes)) => bytes.into_response(),
        Some(FileAct::Stall) => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("x"))]);
            let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
            Body::from_stream(body).into_response()
        }
        Some(FileAct::Status(status)) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::NOT_FOUND)
            .into_response(),
        Some(FileAct::Moved(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
