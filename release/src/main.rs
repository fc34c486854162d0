//! `cargo nas`: renders the single files, builds static binaries, makes the downloads.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use release::{binaries, bundle, image};

/// Makes what an owner downloads: compose files, archives and images per NAS.
#[derive(Parser)]
#[command(name = "cargo nas", bin_name = "cargo nas", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write nas/<name>/compose.yaml from compose.yaml and its overrides.
    Render,
    /// Build the three static binaries.
    Binaries {
        /// Where they go.
        #[arg(long, default_value = "prebuilt")]
        to: PathBuf,
        /// Target triple.
        #[arg(long, default_value = "x86_64-unknown-linux-gnu")]
        target: String,
        /// Cargo profile.
        #[arg(long, default_value = "release")]
        profile: String,
        /// The stand-in world of compose.demo.yaml too.
        #[arg(long)]
        demo: bool,
    },
    /// Build the three static binaries for arm64 with Debian 12's cross tools, unpacked below target.
    Arm64 {
        /// Where they go.
        #[arg(long, default_value = "dist/arm64")]
        to: PathBuf,
        /// Cargo profile.
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Put three static binaries into an archive for `docker load`.
    Images {
        /// The folder with the binaries.
        #[arg(long, default_value = "prebuilt")]
        from: PathBuf,
        /// Their processor.
        #[arg(long, default_value = "amd64")]
        arch: image::Architecture,
        /// The archive.
        #[arg(long)]
        to: PathBuf,
    },
    /// Make the downloads per NAS.
    Bundle {
        /// Where they go.
        #[arg(long)]
        to: PathBuf,
        /// Static binaries in folders amd64 and arm64; images are left out without them.
        #[arg(long, value_name = "DIR")]
        images_from: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let written = match Cli::parse().command {
        Command::Render => bundle::render(&root)?,
        Command::Binaries {
            to,
            target,
            profile,
            demo,
        } => {
            let build = binaries::Build {
                target,
                profile,
                with_demo: demo,
            };
            binaries::build(&root, &to, &build)?;
            vec![to]
        }
        Command::Arm64 { to, profile } => {
            binaries::build_arm64(&root, &to, profile)?;
            vec![to]
        }
        Command::Images { from, arch, to } => {
            let base = std::fs::read_to_string(root.join("compose.yaml"))?;
            let version = release::render::pinned_version(&base)?;
            let file = std::io::BufWriter::new(std::fs::File::create(&to)?);
            image::write_archive(file, &from, arch, version)?;
            vec![to]
        }
        Command::Bundle { to, images_from } => bundle::bundle(&root, &to, images_from.as_deref())?,
    };
    let mut out = std::io::stdout().lock();
    for path in written {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
