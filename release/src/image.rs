//! Container images without an engine: an archive that `docker load` (and the "add from file" of a NAS) reads.
//!
//! Each image is one layer holding one static binary, exactly what the Dockerfile makes. Times are fixed, so that the
//! same binaries make the same bytes.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The programs, each with an image of its own.
pub const SERVICES: [&str; 3] = ["bot", "backup-sidecar", "log-shipper"];

/// The program that is the stand-in Discord and model of `compose.demo.yaml`; never in what an owner gets.
pub const WORLD: &str = "demo";

/// A processor family that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// Intel and AMD, 64 bits.
    Amd64,
    /// ARM, 64 bits.
    Arm64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name that Docker uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What the ELF header of its programs says: `EM_X86_64`, `EM_AARCH64`.
    fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

/// The reference of an image, as the compose files have it by default.
#[must_use]
pub fn reference(service: &str, version: &str) -> String {
    format!("localhost/kotonoha-{service}:{version}")
}

/// Writes the images of all three programs in `binaries` into one archive.
///
/// # Errors
/// When a program is missing, was built for another processor, or the archive cannot be written.
pub fn write_archive(
    out: impl Write,
    binaries: &Path,
    architecture: Architecture,
    version: &str,
) -> Result<()> {
    write_images(out, binaries, &SERVICES, (architecture, version))
}

/// Writes the image of the stand-in world alone.
///
/// # Errors
/// As [`write_archive`].
pub fn write_world(
    out: impl Write,
    binaries: &Path,
    architecture: Architecture,
    version: &str,
) -> Result<()> {
    write_images(out, binaries, &[WORLD], (architecture, version))
}

fn write_images(
    out: impl Write,
    binaries: &Path,
    programs: &[&str],
    (architecture, version): (Architecture, &str),
) -> Result<()> {
    let mut archive = tar::Builder::new(out);
    let mut manifest = Vec::new();
    for program in programs {
        let path = binaries.join(program);
        let binary = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        check(&binary, architecture).with_context(|| path.display().to_string())?;
        let layer = layer(program, &binary)?;
        let digest = hex(&layer);
        let config = config(program, version, architecture, &digest).to_string();
        let config_name = format!("{}.json", hex(config.as_bytes()));
        let layer_name = format!("{digest}/layer.tar");
        append(&mut archive, &config_name, config.as_bytes(), 0o644)?;
        append(&mut archive, &layer_name, &layer, 0o644)?;
        manifest.push(json!({
            "Config": config_name,
            "RepoTags": [reference(program, version)],
            "Layers": [layer_name],
        }));
    }
    let manifest = Value::Array(manifest).to_string();
    append(&mut archive, "manifest.json", manifest.as_bytes(), 0o644)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

/// A dynamic binary would not start on an empty file system, nor one for another processor on this one.
fn check(binary: &[u8], architecture: Architecture) -> Result<()> {
    ensure!(binary.starts_with(b"\x7fELF"), "not an ELF program");
    let machine = binary
        .get(18..20)
        .map(|two| u16::from_le_bytes([two[0], two[1]]));
    ensure!(
        machine == Some(architecture.elf_machine()),
        "built for another processor than {}",
        architecture.name()
    );
    let interpreters: [&[u8]; 2] = [b"/lib64/ld-linux", b"/lib/ld-linux"];
    let head = &binary[..binary.len().min(4096)];
    let is_dynamic = interpreters
        .iter()
        .any(|name| head.windows(name.len()).any(|window| window == *name));
    ensure!(
        !is_dynamic,
        "linked dynamically: build it with `cargo nas binaries`"
    );
    Ok(())
}

fn layer(service: &str, binary: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in ["app/", "usr/", "usr/local/", "usr/local/bin/"] {
        append(&mut layer, folder, &[], 0o755)?;
    }
    // The tmpfs of a restarted container takes the mode of what it is mounted on: without this folder in the image,
    // nobody but root could write the heartbeat from the second start on (seen with runc 1.1.5).
    append(&mut layer, "tmp/", &[], 0o1777)?;
    append(
        &mut layer,
        &format!("usr/local/bin/{service}"),
        binary,
        0o755,
    )?;
    Ok(layer.into_inner()?)
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    let is_dir = name.ends_with('/');
    header.set_entry_type(if is_dir {
        tar::EntryType::Directory
    } else {
        tar::EntryType::Regular
    });
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, bytes)
        .with_context(|| format!("writing {name}"))
}

fn config(service: &str, version: &str, architecture: Architecture, layer: &str) -> Value {
    const SECOND: u64 = 1_000_000_000;
    let program = format!("/usr/local/bin/{service}");
    if service == WORLD {
        return world_config(&program, version, architecture, layer);
    }
    json!({
        "architecture": architecture.name(),
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "User": "1000:1000",
            "Env": ["PATH=/usr/local/bin"],
            "Entrypoint": [program],
            "Cmd": ["run"],
            "WorkingDir": "/app",
            "Labels": {
                "org.opencontainers.image.title": "kotonoha",
                "org.opencontainers.image.licenses": "MIT",
                "org.opencontainers.image.version": version,
            },
            "Healthcheck": {
                "Test": ["CMD", program, "healthcheck"],
                "Interval": 30 * SECOND, "Timeout": 10 * SECOND, "StartPeriod": 10 * SECOND, "Retries": 3,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "cargo nas" }],
    })
}

/// The world has a name in the network of `compose.demo.yaml`, and nothing to be healthy about.
fn world_config(program: &str, version: &str, architecture: Architecture, layer: &str) -> Value {
    json!({
        "architecture": architecture.name(),
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "User": "1000:1000",
            "Entrypoint": [program],
            "Cmd": ["world", "0.0.0.0:8900", "http://world:8900"],
            "Labels": { "org.opencontainers.image.version": version },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "cargo nas" }],
    })
}

/// The SHA-256 of `bytes` as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| {
        [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or('0'))
    };
    Sha256::digest(bytes).iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn program(machine: u8, tail: &[u8]) -> Vec<u8> {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(18, 0);
        elf.extend([machine, 0]);
        elf.extend(tail);
        elf
    }

    fn archive(tail: &[u8]) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        for service in SERVICES {
            fs::write(dir.path().join(service), program(62, tail)).unwrap();
        }
        let mut out = Vec::new();
        write_archive(&mut out, dir.path(), Architecture::Amd64, "1.2.3").map(|()| out)
    }

    #[test]
    fn every_name_in_the_manifest_is_in_the_archive_under_its_digest() {
        let bytes = archive(b"static").unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/kotonoha-bot:1.2.3");
        for image in manifest.as_array().unwrap() {
            let name = image["Config"].as_str().unwrap();
            assert_eq!(name, format!("{}.json", hex(&files[name])));
            let config: Value = serde_json::from_slice(&files[name]).unwrap();
            let layer = &files[image["Layers"][0].as_str().unwrap()];
            assert_eq!(
                config["rootfs"]["diff_ids"][0],
                format!("sha256:{}", hex(layer))
            );
        }
    }

    #[test]
    fn the_same_programs_make_the_same_archive() {
        assert_eq!(archive(b"x").unwrap(), archive(b"x").unwrap());
    }

    #[test]
    fn a_dynamic_program_or_one_for_another_processor_is_refused() {
        assert!(archive(b"/lib64/ld-linux-x86-64.so.2").is_err());
        assert!(check(&program(183, b""), Architecture::Amd64).is_err());
        assert!(check(b"#!/bin/sh", Architecture::Amd64).is_err());
    }
}
