//! Writes the downloads: two archives per NAS, the images per processor, checksums. The only hands besides [`crate::binaries`].

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guide::Document;
use crate::image::{self, Architecture};
use crate::install::{self, Texts};
use crate::nas::Nas;
use crate::render::{self, Sources};
use crate::zip;

/// The documents on the page of each NAS, after its own guide.
const GUIDES: [&str; 4] = ["discord", "backup", "upgrade", "troubleshooting"];

/// Reads the texts that the single file of `nas` is made from, below the repository's `root`.
///
/// # Errors
/// When one is missing.
pub fn sources(root: &Path, nas: Nas) -> Result<Sources> {
    Ok(Sources {
        base: read(root, "compose.yaml")?,
        over: read(root, &format!("compose.{}.yaml", nas.name()))?,
        settings: read(root, ".env.example")?,
    })
}

/// Where the committed single file of `nas` is.
#[must_use]
pub fn committed(root: &Path, nas: Nas) -> PathBuf {
    root.join("nas").join(nas.name()).join("compose.yaml")
}

/// Writes the single file of every NAS to its committed place; says which ones.
///
/// # Errors
/// When a source is missing or a file cannot be written.
pub fn render(root: &Path) -> Result<Vec<PathBuf>> {
    let write_one = |nas| {
        let path = committed(root, nas);
        write(
            &path,
            render::single_file(nas, &sources(root, nas)?)?.as_bytes(),
        )?;
        Ok(path)
    };
    Nas::ALL.into_iter().map(write_one).collect()
}

/// Writes all downloads to `to`, with images when there are binaries in `binaries/amd64` or `binaries/arm64`; says
/// what it wrote.
///
/// # Errors
/// When a source is missing, a binary is not fit for an image, or a file cannot be written.
pub fn bundle(root: &Path, to: &Path, binaries: Option<&Path>) -> Result<Vec<PathBuf>> {
    let base = read(root, "compose.yaml")?;
    let version = render::pinned_version(&base)?;
    let mut written = Vec::new();
    for nas in Nas::ALL {
        let texts = texts(root, nas)?;
        for (kind, entries) in [
            ("install", install::install(nas, &texts)),
            ("update", install::update(nas, &texts)),
        ] {
            let path = to.join(format!("kotonoha-{version}-{}-{kind}.zip", nas.name()));
            write(&path, &zip::archive(&entries))?;
            written.push(path);
        }
    }
    for architecture in Architecture::ALL {
        let dir = binaries.map(|dir| dir.join(architecture.name()));
        if let Some(dir) = dir.filter(|dir| dir.is_dir()) {
            let path = to.join(format!(
                "kotonoha-{version}-images-{}.tar",
                architecture.name()
            ));
            let file =
                fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
            image::write_archive(std::io::BufWriter::new(file), &dir, architecture, version)?;
            written.push(path);
        }
    }
    let sums = to.join("SHA256SUMS");
    write(&sums, checksums(&written)?.as_bytes())?;
    written.push(sums);
    Ok(written)
}

/// Lays the first install of `nas` out below `to`, as if the owner had unpacked it there.
///
/// # Errors
/// When a source is missing or a file cannot be written.
pub fn lay_out(root: &Path, nas: Nas, to: &Path) -> Result<PathBuf> {
    for entry in install::install(nas, &texts(root, nas)?) {
        let path = to.join(&entry.name);
        if entry.name.ends_with('/') {
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        } else {
            write(&path, &entry.bytes)?;
        }
    }
    Ok(to.join(install::TOP))
}

fn texts(root: &Path, nas: Nas) -> Result<Texts> {
    let guides = [("ja", ".ja.md"), ("en", ".md")].map(|(language, ending)| {
        let names = std::iter::once(nas.name()).chain(GUIDES);
        let documents = names.map(|stem| {
            let name = format!("{stem}{ending}");
            let text = read(root, &format!("docs/{name}"))?;
            Ok(Document { name, text })
        });
        Ok((language, documents.collect::<Result<Vec<_>>>()?))
    });
    let secrets = image::SERVICES.map(|service| {
        Ok((
            service,
            read(root, &format!("secrets/{service}/README.txt"))?,
        ))
    });
    Ok(Texts {
        compose: render::single_file(nas, &sources(root, nas)?)?,
        settings: read(root, ".env.example")?,
        guides: guides.into_iter().collect::<Result<_>>()?,
        secrets: secrets.into_iter().collect::<Result<_>>()?,
        example: fs::read_to_string(root.join("config/kotonoha.example.yaml")).ok(),
    })
}

fn checksums(files: &[PathBuf]) -> Result<String> {
    let mut lines = String::new();
    for path in files {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines.extend([&image::hex(&bytes), "  ", &*name, "\n"]);
    }
    Ok(lines)
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    let mut file = fs::File::create(path).with_context(context)?;
    file.write_all(bytes).with_context(context)
}
