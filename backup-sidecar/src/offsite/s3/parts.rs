//! This room uploads large archives in parts, so that an outage costs one part and not the whole, and takes away parts
//! that nobody will ever go on with.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use rusty_s3::S3Action;
use rusty_s3::actions::CreateMultipartUpload;
use ureq::SendBody;

use super::{Bucket, MAX_LISTING_BYTES, SIGNED_FOR, Section};
use crate::offsite::{Unfinished, Upload};
use crate::watch::Watch;
use crate::web::Refused;

/// Archives up to this size go in one piece.
pub(super) const WHOLE_BYTES: u64 = 16 << 20;

/// Bytes of a part; what the common tools use. The least that S3 takes is 5 MiB.
const PART_BYTES: u64 = 8 << 20;

/// S3 takes no more parts than this: larger archives get larger parts.
const MAX_PARTS: u64 = 10_000;

/// Parts that nobody remembers are taken away when they are older; younger ones may be another house's work.
const ORPHANED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Bytes and tag of every part that stands already, by its number.
type Standing = BTreeMap<u16, (u64, String)>;

impl Bucket {
    /// Uploads `file` in parts, going on where an earlier run ended.
    ///
    /// # Errors
    /// When the server or the disk refuses; what stands is gone on with next time.
    pub(super) fn put_in_parts(
        &self,
        key: &str,
        file: &Path,
        length: u64,
        unfinished: &mut Unfinished<'_>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        watch.stage("upload", length);
        let (upload, standing) = self.begin_or_go_on(key, length, unfinished)?;
        let mut tags = Vec::new();
        for number in 1..=u16::try_from(length.div_ceil(upload.part_bytes))? {
            let from = u64::from(number - 1) * upload.part_bytes;
            let section = Section {
                file,
                from,
                length: upload.part_bytes.min(length - from),
            };
            match standing.get(&number) {
                Some((bytes, tag)) if *bytes == section.length => {
                    watch.advance(section.length)?;
                    tags.push(tag.clone());
                }
                _ => tags.push(self.put_part(key, &upload, number, &section, watch)?),
            }
        }
        self.complete(key, &upload, &tags)?;
        unfinished.remember(None)
    }

    fn begin_or_go_on(
        &self,
        key: &str,
        length: u64,
        unfinished: &mut Unfinished<'_>,
    ) -> anyhow::Result<(Upload, Standing)> {
        if let Some(upload) = unfinished.upload() {
            if let Some(standing) = self.standing(key, &upload)? {
                return Ok((upload, standing));
            }
            // The server has given it up meanwhile.
            unfinished.remember(None)?;
        }
        let action = self
            .place
            .create_multipart_upload(Some(&self.credentials), key);
        let url = action.sign(SIGNED_FOR);
        let text = self.text(|agent| agent.post(url.as_str()).send_empty())?;
        let answer = CreateMultipartUpload::parse_response(&text)
            .ok()
            .context("the answer to a new upload is not readable")?;
        let upload = Upload {
            id: answer.upload_id().to_owned(),
            part_bytes: part_bytes(length),
        };
        // Remembered before the first part: from here on it can be gone on with or given up.
        unfinished.remember(Some(upload.clone()))?;
        Ok((upload, Standing::new()))
    }

    /// The parts that stand; `None` when the server does not know the upload any more.
    fn standing(&self, key: &str, upload: &Upload) -> anyhow::Result<Option<Standing>> {
        let mut standing = Standing::new();
        let mut after: Option<u16> = None;
        loop {
            let mut action = self
                .place
                .list_parts(Some(&self.credentials), key, &upload.id);
            if let Some(number) = after {
                action.set_part_number_marker(number);
            }
            let url = action.sign(SIGNED_FOR);
            let text = match self.text(|agent| agent.get(url.as_str()).call()) {
                Err(error) if is_missing(&error) => return Ok(None),
                text => text?,
            };
            standing.extend(each(&text, "Part").filter_map(|part| {
                let number = field(part, "PartNumber")?.parse().ok()?;
                let bytes = field(part, "Size")?.parse().ok()?;
                Some((number, (bytes, field(part, "ETag")?)))
            }));
            let is_more = field(&text, "IsTruncated").is_some_and(|more| more == "true");
            let next = field(&text, "NextPartNumberMarker").and_then(|next| next.parse().ok());
            if !is_more || next <= after {
                return Ok(Some(standing));
            }
            after = next;
        }
    }

    fn put_part(
        &self,
        key: &str,
        upload: &Upload,
        number: u16,
        section: &Section<'_>,
        watch: &Watch,
    ) -> anyhow::Result<String> {
        let url = self
            .place
            .upload_part(Some(&self.credentials), key, number, &upload.id)
            .sign(SIGNED_FOR);
        let tag = self.web.call(|agent| {
            let mut reader = section.open(watch)?;
            let answer = agent
                .put(url.as_str())
                .header("content-length", section.length.to_string())
                .send(SendBody::from_reader(&mut reader))?;
            let tag = answer.headers().get("etag");
            Ok(tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned))
        })?;
        tag.with_context(|| format!("the server gave part {number} no ETag"))
    }

    fn complete(&self, key: &str, upload: &Upload, tags: &[String]) -> anyhow::Result<()> {
        let tags = tags.iter().map(String::as_str);
        let action =
            self.place
                .complete_multipart_upload(Some(&self.credentials), key, &upload.id, tags);
        let url = action.sign(SIGNED_FOR);
        let body = action.body();
        let text = self.text(|agent| agent.post(url.as_str()).send(body.as_str()))?;
        // A failure may come with the status of a success; what was put together is read back in any case.
        ensure!(
            each(&text, "Error").next().is_none(),
            "the server did not put the parts together: {}",
            field(&text, "Code").unwrap_or_default()
        );
        Ok(())
    }

    /// Gives an upload up; its parts go.
    ///
    /// # Errors
    /// When the server refuses; one that it does not know is gone already.
    pub(super) fn abort(&self, key: &str, id: &str) -> anyhow::Result<()> {
        let url = self
            .place
            .abort_multipart_upload(Some(&self.credentials), key, id)
            .sign(SIGNED_FOR);
        let gone = self
            .web
            .call(|agent| Ok(agent.delete(url.as_str()).call()?.status()));
        match gone {
            Err(error) if !is_missing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Unfinished uploads below our prefix that are older than a day: key and id. Not every server can list them.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(super) fn old_uploads(&self, now: Timestamp) -> anyhow::Result<Vec<(String, String)>> {
        // `GET /bucket/?uploads`, which the signing library has no word for.
        let mut action = self.place.get_object(Some(&self.credentials), "");
        action.query_mut().insert("uploads", "");
        action.query_mut().insert("prefix", self.prefix.clone());
        let url = action.sign(SIGNED_FOR);
        let text = self.text(|agent| agent.get(url.as_str()).call())?;
        Ok(uploads_in(&text, now))
    }

    fn text(
        &self,
        mut call: impl FnMut(&ureq::Agent) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<String> {
        self.web.call(|agent| {
            let mut answer = call(agent)?;
            let body = answer.body_mut().with_config();
            body.limit(MAX_LISTING_BYTES).read_to_string()
        })
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>() == Some(&Refused(404))
}

fn part_bytes(length: u64) -> u64 {
    let least = length.div_ceil(MAX_PARTS);
    least.next_multiple_of(1 << 20).max(PART_BYTES)
}

fn uploads_in(listing: &str, now: Timestamp) -> Vec<(String, String)> {
    let uploads = each(listing, "Upload").filter_map(|upload| {
        let begun: Timestamp = field(upload, "Initiated")?.parse().ok()?;
        let is_old = now.duration_since(begun) > ORPHANED_AFTER;
        Some((field(upload, "Key")?, field(upload, "UploadId")?)).filter(|_| is_old)
    });
    uploads.collect()
}

/// The insides of every element of a name. Servers differ in what they wrap around them, so nothing else is asked of an
/// answer.
fn each<'a>(answer: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = answer;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&begin)?;
        let (inside, after) = after.split_once(&end)?;
        rest = after;
        Some(inside)
    })
}

/// The text of the first element of a name.
fn field(answer: &str, name: &str) -> Option<String> {
    let inside = each(answer, name).next()?;
    Some(inside.replace("&quot;", "\"").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_their_number_fits() {
        assert_eq!(part_bytes(20 << 20), PART_BYTES);
        for length in [80_u64 << 30, (5 << 40) - 1] {
            let bytes = part_bytes(length);
            assert!(length.div_ceil(bytes) <= MAX_PARTS && bytes.is_multiple_of(1 << 20));
        }
    }

    #[test]
    fn only_old_uploads_are_nobodys() {
        let listing = "<ListMultipartUploadsResult><Upload><Key>home/a</Key><UploadId>1</UploadId>\
            <Initiated>2026-11-26T00:00:00.000Z</Initiated></Upload><Upload><Key>home/b</Key><UploadId>2</UploadId>\
            <Initiated>2026-11-28T00:00:00.000Z</Initiated></Upload><Upload><Key>torn</Key></Upload>";
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        assert_eq!(uploads_in(listing, now), [("home/a".into(), "1".into())]);
        assert!(uploads_in("no XML at all", now).is_empty());
    }

    #[test]
    fn answers_are_read_whatever_is_wrapped_around_them() {
        let answer = "<A xmlns='x'><Part><ETag>&quot;e&quot;</ETag><Size>7</Size></Part><Part><Size>8</Size></Part></A>";
        let sizes: Vec<_> = each(answer, "Part")
            .map(|part| field(part, "Size"))
            .collect();
        assert_eq!(sizes, [Some("7".to_owned()), Some("8".to_owned())]);
        assert_eq!(field(answer, "ETag").as_deref(), Some("\"e\""));
        assert_eq!(field("<Part>torn", "Part"), None);
    }
}
