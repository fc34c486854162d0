//! A stand-in for S3-compatible storage and for a dead man's switch: plain HTTP on a port of its own.
//!
//! It knows what the sidecar needs (put whole or in parts, get, delete, list) and checks that every request to the bucket
//! is signed; real servers, which check the signature itself, have tests of their own.

pub mod real;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The namespace of every answer of S3.
const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What the storage holds and what it was asked.
#[derive(Default)]
pub struct State {
    /// Objects by `/bucket/key`.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// `METHOD /path`, without the query.
    pub requests: Vec<String>,
    /// Bodies of pings, in order; empty for a success.
    pub pings: Vec<(String, String)>,
    /// Uploads in parts that were begun and neither ended nor given up, by id.
    pub uploads: BTreeMap<String, Upload>,
    /// Every request is answered with this status, when set.
    pub refuse: Option<u16>,
    /// After so many more parts every request is answered with 503.
    pub parts_until_outage: Option<usize>,
    /// Objects are cut short when they are read back.
    pub truncate: bool,
    /// After each so many KiB that are sent, a second passes.
    pub kib_a_second: Option<usize>,
}

/// An upload in parts.
#[derive(Default)]
pub struct Upload {
    /// `/bucket/key`.
    pub path: String,
    /// Parts by number.
    pub parts: BTreeMap<u16, Vec<u8>>,
    /// When it was begun, RFC 3339.
    pub begun: String,
}

/// The server; it ends with the test process.
pub struct Storage {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Storage {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    // A client that goes away is no failure of the stand-in.
                    serve(stream, &state).ok();
                });
            }
        });
        Self { url, state }
    }

    /// Looks at or changes the state.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut length = 0_usize;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        take(&mut reader, &mut body, state)?;
        let (status, answer) = state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .answer(method, target, body);
        write!(
            stream,
            "HTTP/1.1 {status} X\r\netag: \"part\"\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        )?;
        stream.write_all(&answer)?;
    }
}

/// Reads a body, as slowly as the line is.
fn take(reader: &mut impl Read, body: &mut [u8], state: &Mutex<State>) -> std::io::Result<()> {
    const STEPS_A_SECOND: usize = 10;
    let mut rest = body;
    while !rest.is_empty() {
        let locked = state.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = locked.kib_a_second;
        drop(locked);
        let step = pace.map_or(rest.len(), |kib| (kib << 10) / STEPS_A_SECOND);
        let (now, later) = rest.split_at_mut(step.min(rest.len()));
        reader.read_exact(now)?;
        rest = later;
        if pace.is_some() {
            thread::sleep(Duration::from_secs(1) / STEPS_A_SECOND as u32);
        }
    }
    Ok(())
}

impl State {
    fn answer(&mut self, method: &str, target: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.requests.push(format!("{method} {path}"));
        if let Some(status) = self.refuse {
            return (status, Vec::new());
        }
        if path.starts_with("/ping") {
            self.pings
                .push((path.to_owned(), String::from_utf8_lossy(&body).into_owned()));
            return (200, Vec::new());
        }
        if !query.contains("X-Amz-Signature=") {
            return (403, Vec::new());
        }
        if let Some(answer) = self.answer_in_parts(method, path, query, &body) {
            return answer;
        }
        match method {
            "PUT" => {
                self.objects.insert(path.to_owned(), body);
                (200, Vec::new())
            }
            "DELETE" => {
                self.objects.remove(path);
                (204, Vec::new())
            }
            _ if query.contains("list-type=2") => (200, self.listing(path).into_bytes()),
            _ => match self.objects.get(path) {
                Some(object) => {
                    let keep = if self.truncate {
                        object.len() / 2
                    } else {
                        object.len()
                    };
                    (200, object[..keep].to_vec())
                }
                None => (404, Vec::new()),
            },
        }
    }

    /// What has to do with uploads in parts; `None` for everything else.
    fn answer_in_parts(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Option<(u16, Vec<u8>)> {
        let field = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        if field("uploads").is_some() {
            return Some((200, self.begin_or_list(method, path).into_bytes()));
        }
        let id = field("uploadId")?;
        if self.parts_until_outage == Some(0) {
            return Some((503, Vec::new()));
        }
        let Some(upload) = self.uploads.get_mut(id) else {
            return Some((404, Vec::new()));
        };
        match method {
            "PUT" => {
                let number = field("partNumber").and_then(|text| text.parse().ok())?;
                upload.parts.insert(number, body.to_vec());
                self.parts_until_outage = self.parts_until_outage.map(|left| left - 1);
                Some((200, Vec::new()))
            }
            "POST" => {
                let upload = self.uploads.remove(id)?;
                self.objects
                    .insert(upload.path, upload.parts.into_values().flatten().collect());
                let answer = format!(
                    "<CompleteMultipartUploadResult xmlns=\"{XMLNS}\"><ETag>x</ETag></CompleteMultipartUploadResult>"
                );
                Some((200, answer.into_bytes()))
            }
            "DELETE" => {
                self.uploads.remove(id);
                Some((204, Vec::new()))
            }
            _ => {
                let mut parts = String::new();
                for (number, bytes) in &upload.parts {
                    write!(
                        parts,
                        "<Part><PartNumber>{number}</PartNumber><ETag>&quot;part&quot;</ETag><Size>{}</Size></Part>",
                        bytes.len()
                    )
                    .expect("a string");
                }
                let answer = format!(
                    "<ListPartsResult xmlns=\"{XMLNS}\"><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"
                );
                Some((200, answer.into_bytes()))
            }
        }
    }

    fn begin_or_list(&mut self, method: &str, path: &str) -> String {
        if method == "POST" {
            let id = format!("upload{}", self.requests.len());
            let upload = Upload {
                path: path.to_owned(),
                begun: jiff::Timestamp::now().to_string(),
                ..Upload::default()
            };
            self.uploads.insert(id.clone(), upload);
            return format!(
                "<InitiateMultipartUploadResult xmlns=\"{XMLNS}\"><Bucket>bucket</Bucket><Key>key</Key>\
                 <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
        }
        let bucket = format!("{}/", path.trim_end_matches('/'));
        let mut uploads = String::new();
        for (id, upload) in &self.uploads {
            if let Some(key) = upload.path.strip_prefix(&bucket) {
                let begun = &upload.begun;
                write!(
                    uploads,
                    "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>"
                )
                .expect("a string");
            }
        }
        format!(
            "<ListMultipartUploadsResult xmlns=\"{XMLNS}\">{uploads}</ListMultipartUploadsResult>"
        )
    }

    fn listing(&self, bucket: &str) -> String {
        let bucket = format!("{}/", bucket.trim_end_matches('/'));
        let mut contents = String::new();
        for (path, object) in &self.objects {
            if let Some(key) = path.strip_prefix(&bucket) {
                write!(
                    contents,
                    "<Contents><Key>{key}</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified>\
                     <ETag>&quot;x&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    object.len()
                )
                .expect("a string");
            }
        }
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix></Prefix>\
             <KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        )
    }
}
