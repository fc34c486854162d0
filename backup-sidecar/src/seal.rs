//! This room encrypts archives to the owner's recipients, and opens them again where an identity is at hand.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};

use crate::archive::HashingWriter;
use crate::verify::NotProved;
use crate::watch::Watch;

/// Who can open what is sealed.
#[derive(Clone)]
pub struct Recipients(Vec<age::x25519::Recipient>);

impl Recipients {
    /// Reads `age1…` recipients.
    #[must_use]
    pub fn parse(list: &[String]) -> Option<Self> {
        let all: Result<Vec<_>, _> = list.iter().map(|text| text.parse()).collect();
        all.ok().map(Self)
    }

    /// Nobody: archives are not sealed.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether archives are to be sealed at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keys that open sealed archives.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads an identity file as `age-keygen` writes it.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // The message of the parser could quote the key: it is left out on purpose.
        let parsed = age::IdentityFile::from_buffer(BufReader::new(file)).ok();
        let identities = parsed.and_then(|file| file.into_identities().ok());
        let identities =
            identities.with_context(|| format!("{} holds no age identity", path.display()))?;
        ensure!(
            !identities.is_empty(),
            "{} holds no age identity",
            path.display()
        );
        Ok(Self(identities))
    }

    /// The plain bytes behind a sealed stream.
    ///
    /// # Errors
    /// When the stream is not sealed, or not to one of these identities.
    pub fn open<'a>(&self, sealed: impl Read + 'a) -> anyhow::Result<Box<dyn Read + 'a>> {
        let decryptor = age::Decryptor::new_buffered(BufReader::new(sealed))
            .context("it is not an age file")?;
        ensure!(
            !decryptor.is_scrypt(),
            "it is sealed with a passphrase, not to a recipient"
        );
        let identities = self
            .0
            .iter()
            .map(|identity| &**identity as &dyn age::Identity);
        let plain = decryptor.decrypt(identities).map_err(|error| {
            let is_foreign = matches!(error, age::DecryptError::NoMatchingKeys);
            let error = anyhow::Error::new(error).context("no identity at hand opens it");
            // Sealed to somebody else's key: that is no fault of the archive.
            if is_foreign {
                error.context(NotProved)
            } else {
                error
            }
        })?;
        Ok(Box::new(plain))
    }
}

/// Writes the sealed form of `plain` and tells its SHA-256 and length.
///
/// # Errors
/// When reading, sealing or writing fails.
pub fn seal(
    plain: &Path,
    sealed: &mut File,
    recipients: &Recipients,
    watch: &Watch,
) -> anyhow::Result<(String, u64)> {
    let mut input =
        File::open(plain).with_context(|| format!("cannot open {}", plain.display()))?;
    watch.stage("seal", input.metadata()?.len());
    let list = recipients
        .0
        .iter()
        .map(|recipient| recipient as &dyn age::Recipient);
    let encryptor =
        age::Encryptor::with_recipients(list).context("cannot seal to these recipients")?;
    let mut output = encryptor.wrap_output(HashingWriter::new(io::BufWriter::new(sealed)))?;
    let mut block = vec![0; 1 << 18];
    loop {
        let length = input.read(&mut block)?;
        if length == 0 {
            break;
        }
        output.write_all(&block[..length])?;
        watch.advance(length as u64)?;
    }
    let mut output = output.finish()?;
    output.flush()?;
    Ok(output.finish())
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_identity_alone() {
        let dir = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        let recipients = Recipients::parse(&[identity.to_public().to_string()]).unwrap();
        let plain = dir.path().join("plain");
        let words = vec![42; 300_000];
        std::fs::write(&plain, &words).unwrap();
        let sealed = dir.path().join("sealed");
        let mut file = File::create(&sealed).unwrap();
        let watch = Watch::command();
        let (sha256, bytes) = seal(&plain, &mut file, &recipients, &watch).unwrap();
        assert_eq!(bytes, std::fs::metadata(&sealed).unwrap().len());
        assert_eq!(sha256, crate::archive::hash_file(&sealed, &watch).unwrap());
        let key = dir.path().join("key");
        let open = |text: &str| {
            std::fs::write(&key, text).unwrap();
            Identities::from_file(&key).and_then(|keys| {
                let mut opened = Vec::new();
                keys.open(File::open(&sealed)?)?.read_to_end(&mut opened)?;
                Ok(opened)
            })
        };
        assert_eq!(open(identity.to_string().expose_secret()).unwrap(), words);
        let other = age::x25519::Identity::generate();
        assert!(open(other.to_string().expose_secret()).is_err());
        for nonsense in ["", "AGE-SECRET-KEY-1canary", "# only a comment"] {
            let error = open(nonsense).unwrap_err();
            assert!(!format!("{error:#}").contains("canary"), "{error:#}");
        }
    }
}
