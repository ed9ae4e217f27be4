//! How `leadglass backup` asks the running vault for a stage: a socket in the data directory that only the vault's own user
//! may talk to. The answer is one line of JSON; the stage goes away with the connection.

use super::stage::{self, Desk, Stage};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

/// What the vault says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Stands(Stage),
    Failed(String),
}

/// The vault's side: one backup after the other, until `stop`.
pub async fn serve(desk: Desk, stop: CancellationToken) {
    let listener = match listen(&desk.data) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "no backup can be taken while this vault runs"),
    };
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask for a backup");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = answer(&desk, stream) => {}
        }
    }
}

async fn answer(desk: &Desk, mut stream: UnixStream) {
    let answer = match desk.stage().await {
        Ok(stage) => Answer::Stands(stage),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "a backup could not be begun");
            Answer::Failed(format!("{error:#}"))
        }
    };
    let line = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    if stream.write_all(line.as_bytes()).await.is_ok() {
        // Until whoever carries it away is done, or dead.
        let _ = stream.read(&mut [0; 1]).await;
    }
    if let Err(error) = stage::clear(&desk.data.join("backup")) {
        tracing::warn!(%error, "what a backup left stays until the next one");
    }
}

/// By way of the folder's descriptor: a socket's own path may be at most 107 bytes long, a data directory's not.
fn path(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}

fn listen(data: &Path) -> anyhow::Result<UnixListener> {
    let dir = File::open(data)?;
    // Ours is the records' lock, so nobody else listens there.
    let _ = fs::remove_file(data.join(NAME));
    Ok(UnixListener::bind(path(&dir))?)
}

/// A stage, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// It.
    pub stage: Stage,
    _stream: BufReader<UnixStream>,
}

/// Asks the vault that runs on `data` for a stage.
pub async fn ask(data: &Path) -> anyhow::Result<Held> {
    let dir = File::open(data).with_context(|| format!("there is no vault in {}", data.display()))?;
    let stream = UnixStream::connect(path(&dir)).await;
    let mut stream =
        BufReader::new(stream.context("the vault does not run here: a backup is taken from a running one")?);
    let mut line = String::new();
    stream.read_line(&mut line).await.context("the vault ended")?;
    match serde_json::from_str(&line).context("the vault ended, or is of another version")? {
        Answer::Stands(stage) => Ok(Held { stage, _stream: stream }),
        Answer::Failed(why) => bail!("the vault says: {why}"),
    }
}

const NAME: &str = "backup.sock";
const REST: Duration = Duration::from_secs(1);
