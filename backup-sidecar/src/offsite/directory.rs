//! This room keeps copies in a directory, such as a second volume.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use daemon_kit::publish::{self, Partial};

use super::{Place, Unfinished};
use crate::catalog::{self, ArchiveName};
use crate::watch::Watch;

/// A directory.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Nothing is touched yet.
    #[must_use]
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn at(&self, name: &ArchiveName) -> PathBuf {
        self.path.join(name.to_string())
    }
}

impl Place for Directory {
    fn list(&self) -> anyhow::Result<Vec<(ArchiveName, u64)>> {
        // It is not created: a missing one may be a volume that is not mounted, whose place must not fill up.
        ensure!(
            self.path.is_dir(),
            "{} is not there; is the volume mounted?",
            self.path.display()
        );
        catalog::archives_in(&self.path)
            .with_context(|| format!("cannot list {}", self.path.display()))
    }

    fn put(
        &self,
        name: &ArchiveName,
        file: &Path,
        _: &mut Unfinished<'_>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let mut source =
            File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        watch.stage("copy", source.metadata()?.len());
        let mut partial = Partial::create(&self.at(name), 0o666)?;
        copy(&mut source, partial.file(), watch)?;
        // A torn file of that name, left by another program, is replaced by the whole one.
        partial.replace()?;
        Ok(())
    }

    fn get(&self, name: &ArchiveName, into: &mut dyn Write, watch: &Watch) -> anyhow::Result<()> {
        let path = self.at(name);
        let mut file =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        watch.stage("read back", file.metadata()?.len());
        copy(&mut file, into, watch)
    }

    fn remove(&self, name: &ArchiveName) -> anyhow::Result<()> {
        publish::remove(&self.at(name))?;
        Ok(())
    }
}

/// Copies in blocks, so that the job can be stopped and is seen to live.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write, watch: &Watch) -> anyhow::Result<()> {
    let mut block = vec![0; 1 << 18];
    loop {
        let length = from.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&block[..length])?;
        watch.advance(length as u64)?;
    }
}
