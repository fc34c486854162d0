//! This room keeps copies in S3-compatible storage; it alone names rusty-s3, which signs and parses, nothing more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use daemon_kit::time;
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use secrecy::ExposeSecret;
use ureq::SendBody;

use super::directory::copy;
use super::{Place, Unfinished, Upload};
use crate::catalog::ArchiveName;
use crate::config::S3;
use crate::watch::Watch;
use crate::web::Web;

mod parts;

/// How long a signed address is good; long enough to begin, the transfer itself may take longer.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// A listing is text: longer than this it is not one.
const MAX_LISTING_BYTES: u64 = 16 << 20;

/// A bucket, or a folder in it.
pub(super) struct Bucket {
    place: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    web: Web,
}

impl Bucket {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When the addresses do not make sense.
    pub(super) fn new(s3: &S3, extra_ca: Option<&Path>) -> anyhow::Result<Self> {
        let bucket = rusty_s3::Bucket::new(
            s3.endpoint.clone(),
            UrlStyle::Path,
            s3.bucket.clone(),
            s3.region.clone(),
        );
        Ok(Self {
            place: bucket
                .context("BACKUP_REMOTE_URL and BACKUP_REMOTE_ENDPOINT do not make an address")?,
            credentials: Credentials::new(
                s3.access_key.expose_secret(),
                s3.secret_key.expose_secret(),
            ),
            prefix: s3.prefix.clone(),
            web: Web::new(extra_ca)?,
        })
    }

    fn key(&self, name: &ArchiveName) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Place for Bucket {
    fn list(&self) -> anyhow::Result<Vec<(ArchiveName, u64)>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut action = self.place.list_objects_v2(Some(&self.credentials));
            action.with_prefix(self.prefix.clone());
            if let Some(token) = token.take() {
                action.with_continuation_token(token);
            }
            let url = action.sign(SIGNED_FOR);
            let text = self.web.call(|agent| {
                let mut answer = agent.get(url.as_str()).call()?;
                answer
                    .body_mut()
                    .with_config()
                    .limit(MAX_LISTING_BYTES)
                    .read_to_string()
            })?;
            let page = ListObjectsV2::parse_response(&text)
                .ok()
                .context("the listing is not readable")?;
            let names = page.contents.iter().filter_map(|object| {
                let name = object.key.strip_prefix(&self.prefix)?.parse().ok()?;
                Some((name, object.size?))
            });
            found.extend(names);
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    fn put(
        &self,
        name: &ArchiveName,
        file: &Path,
        unfinished: &mut Unfinished<'_>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let length = std::fs::metadata(file)?.len();
        let key = self.key(name);
        if length > parts::WHOLE_BYTES {
            return self.put_in_parts(&key, file, length, unfinished, watch);
        }
        let section = Section {
            file,
            from: 0,
            length,
        };
        let url = self
            .place
            .put_object(Some(&self.credentials), &key)
            .sign(SIGNED_FOR);
        watch.stage("upload", length);
        self.web.call(|agent| {
            let mut reader = section.open(watch)?;
            let answer = agent
                .put(url.as_str())
                .header("content-length", length.to_string())
                .send(SendBody::from_reader(&mut reader))?;
            Ok(answer.status())
        })?;
        Ok(())
    }

    fn get(&self, name: &ArchiveName, into: &mut dyn Write, watch: &Watch) -> anyhow::Result<()> {
        let key = self.key(name);
        let url = self
            .place
            .get_object(Some(&self.credentials), &key)
            .sign(SIGNED_FOR);
        let answer = self.web.call(|agent| agent.get(url.as_str()).call())?;
        watch.stage("download", answer.body().content_length().unwrap_or(0));
        copy(&mut answer.into_body().into_reader(), into, watch)
    }

    fn remove(&self, name: &ArchiveName) -> anyhow::Result<()> {
        let key = self.key(name);
        let url = self
            .place
            .delete_object(Some(&self.credentials), &key)
            .sign(SIGNED_FOR);
        self.web
            .call(|agent| Ok(agent.delete(url.as_str()).call()?.status()))?;
        Ok(())
    }

    fn give_up(&self, name: &ArchiveName, upload: &Upload) -> anyhow::Result<()> {
        self.abort(&self.key(name), &upload.id)
    }

    fn orphans(&self) -> anyhow::Result<Vec<(ArchiveName, Upload)>> {
        let old = self.old_uploads(time::now())?.into_iter();
        let ours = old.filter_map(|(key, id)| {
            let name = key.strip_prefix(&self.prefix)?.parse().ok()?;
            Some((name, Upload { id, part_bytes: 0 }))
        });
        Ok(ours.collect())
    }
}

/// A piece of a file.
struct Section<'a> {
    file: &'a Path,
    from: u64,
    length: u64,
}

impl Section<'_> {
    fn open<'w>(&self, watch: &'w Watch) -> io::Result<Watched<'w>> {
        let mut file = File::open(self.file)?;
        file.seek(SeekFrom::Start(self.from))?;
        Ok(Watched {
            inner: file.take(self.length),
            watch,
        })
    }
}

struct Watched<'a> {
    inner: io::Take<File>,
    watch: &'a Watch,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.watch
            .advance(length as u64)
            .map_err(io::Error::other)?;
        Ok(length)
    }
}
