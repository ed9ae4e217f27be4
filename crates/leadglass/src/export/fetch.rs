//! A download that goes on where it broke off: into `FILE.part`, which becomes `FILE` when it is whole.

use crate::admin::Client;
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::{self, File},
    io::{IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Fetches all `total` bytes into the file, or to standard output.
pub(super) async fn fetch(client: &Client, address: &str, total: u64, out: Option<&Path>) -> anyhow::Result<()> {
    let part = out.map(part_of);
    let (mut sink, mut have): (Box<dyn Write + Send>, u64) = match &part {
        None => (Box::new(std::io::stdout()), 0),
        Some(part) => {
            let mut options = File::options();
            let file = options.append(true).create(true).mode(0o600).open(part);
            let file = file.with_context(|| format!("cannot write {}", part.display()))?;
            let have = file.metadata()?.len();
            ensure!(have <= total, "{} is longer than the export: it is of another one", part.display());
            (Box::new(file), have)
        }
    };
    let bar = bar(total);
    let mut tries = 0;
    while have < total {
        let before = have;
        let ended = piece(client, address, total, &mut have, &mut sink, &bar).await;
        if have == total {
            break;
        }
        tries = if have > before { 0 } else { tries + 1 };
        match ended {
            Err(error) if tries >= TRIES || !error.again => return Err(error.cause),
            Err(error) => bar.suspend(|| eprintln!("{:#}; going on at byte {have} …", error.cause)),
            Ok(()) => bar.suspend(|| eprintln!("It broke off; going on at byte {have} …")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bar.finish_and_clear();
    sink.flush().context("the package cannot be written")?;
    if let (Some(part), Some(out)) = (part, out) {
        File::open(&part)?.sync_all().context("the package cannot be written")?;
        fs::rename(&part, out).with_context(|| format!("cannot name it {}", out.display()))?;
    }
    Ok(())
}

/// Why a piece ended early, and whether asking again may help.
struct Broken {
    cause: anyhow::Error,
    again: bool,
}

async fn piece(
    client: &Client,
    address: &str,
    total: u64,
    have: &mut u64,
    sink: &mut (dyn Write + Send),
    bar: &ProgressBar,
) -> Result<(), Broken> {
    let again = |cause| Broken { cause, again: true };
    let never = |cause| Broken { cause, again: false };
    let request = client.http.get(address).header("range", format!("bytes={have}-"));
    let answer = client.send(request).await.map_err(again)?;
    let range = answer.headers().get("content-range").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let as_asked = match range.as_deref() {
        Some(range) => range.starts_with(&format!("bytes {have}-")) && range.ends_with(&format!("/{total}")),
        None => *have == 0,
    };
    if !as_asked {
        return Err(never(anyhow::anyhow!("the vault does not go on where it was asked to")));
    }
    let mut pieces = answer.bytes_stream();
    bar.set_position(*have);
    while let Some(piece) = pieces.try_next().await.context("the vault stopped sending").map_err(again)? {
        sink.write_all(&piece).context("the package cannot be written").map_err(never)?;
        *have += piece.len() as u64;
        bar.set_position(*have);
    }
    Ok(())
}

fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// Attempts without a byte in between.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);
