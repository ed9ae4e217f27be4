//! Where the files go: a folder, or a ZIP. Whatever has no `REPORT.TXT` is not whole.

use crate::admin::Client;
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A package that is being written.
pub(super) struct Package {
    place: PathBuf,
    form: Form,
}

enum Form {
    Folder,
    Zip(Box<ZipWriter<File>>),
}

impl Package {
    /// At this place, where nothing is yet.
    pub(super) fn new(place: &Path) -> anyhow::Result<Self> {
        let form = if place.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip")) {
            Form::Zip(Box::new(ZipWriter::new(created(place)?)))
        } else {
            fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
            let mut there = fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))?;
            ensure!(there.next().is_none(), "{} is not empty", place.display());
            Form::Folder
        };
        Ok(Self { place: place.to_owned(), form })
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Fetches a file of `len` bytes.
    pub(super) async fn fetch(&mut self, client: &Client, address: &str, name: &str, len: u64) -> anyhow::Result<()> {
        let answer = client.send(client.http.get(address)).await?;
        let mut pieces = answer.bytes_stream();
        let mut sink = self.sink(name)?;
        let mut have = 0;
        while let Some(piece) = pieces.try_next().await.context("the vault stopped sending")? {
            sink.write_all(&piece).context("the package cannot be written")?;
            have += piece.len() as u64;
        }
        ensure!(have == len, "the vault sent {have} bytes of {len}");
        sink.flush().context("the package cannot be written")
    }

    /// Adds the report, which says that it is whole.
    pub(super) fn finish(&mut self, json: &[u8], text: &[u8]) -> anyhow::Result<()> {
        for (name, bytes) in [("REPORT.JSN", json), ("REPORT.TXT", text)] {
            let mut sink = self.sink(name)?;
            sink.write_all(bytes).and_then(|()| sink.flush()).context("the package cannot be written")?;
        }
        if let Form::Zip(zip) = std::mem::replace(&mut self.form, Form::Folder) {
            zip.finish()?.sync_all().context("the package cannot be written")?;
        }
        Ok(())
    }

    fn sink(&mut self, name: &str) -> anyhow::Result<Box<dyn Write + Send + '_>> {
        // The name comes over the network: it stays inside.
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside && !name.is_empty(), "the vault names a file that is none of a package");
        match &mut self.form {
            Form::Zip(zip) => {
                let options = SimpleFileOptions::default();
                let options =
                    options.compression_method(CompressionMethod::Stored).large_file(true).unix_permissions(0o600);
                zip.start_file(name, options).context("the package cannot be written")?;
                Ok(Box::new(zip))
            }
            Form::Folder => {
                let path = self.place.join(name);
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
                }
                Ok(Box::new(created(&path)?))
            }
        }
    }
}

/// A file that was not there, for its owner alone.
fn created(path: &Path) -> anyhow::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}
