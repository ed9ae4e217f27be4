//! `control.sock`: the key host's own commands to a running service.

use super::{Server, TlsError};
use crate::{
    control::{self, Answer, Command},
    provider::Passphrase,
    refusal::Refusal,
};
use leadglass_keys::wire::{Base64Bytes, ProblemCode};
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// Starts listening. The socket is gone when the server has stopped.
pub(super) fn listen(server: &Arc<Server>) -> Result<(), TlsError> {
    let path = server.layout.control();
    // We hold the lock of the data directory, so whatever lies there was left by a service that is gone.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(TlsError::Control(error)),
        Ok(()) | Err(_) => {}
    }
    let dir = std::fs::File::open(server.layout.root()).map_err(TlsError::Control)?;
    let listener = UnixListener::bind(control::socket_path(&dir)).map_err(TlsError::Control)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(TlsError::Control)?;
    let owner = dir.metadata().map_err(TlsError::Control)?.uid();
    let server_ = Arc::clone(server);
    server.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = server_.stop.cancelled() => break,
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    if !is_owner(owner, &stream) {
                        tracing::warn!("Another user asked on the control socket");
                        continue;
                    }
                    let server = Arc::clone(&server_);
                    server_.tasks.spawn(async move { answer(server, stream).await });
                }
            }
        }
        let _gone = std::fs::remove_file(&path);
    });
    Ok(())
}

/// Whoever owns the data directory has its files anyway.
fn is_owner(owner: u32, stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0)
}

async fn answer(server: Arc<Server>, mut stream: UnixStream) {
    let (reader, mut writer) = stream.split();
    let mut line = zeroize::Zeroizing::new(Vec::new());
    let mut reader = BufReader::new(reader.take(control::MAX_LINE_BYTES));
    let read = tokio::time::timeout(COMMAND_WITHIN, reader.read_until(b'\n', &mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let outcome = match serde_json::from_slice::<Command>(&line) {
        Ok(command) => run(&server, command).await,
        Err(_) => Err(Refusal::new(ProblemCode::BadRequest, "the command cannot be read; is it of another version?")),
    };
    let answer = match outcome {
        Ok(value) => Answer::Done(value),
        Err(refusal) => {
            tracing::info!(code = ?refusal.code(), causes = refusal.causes(), "A command was refused");
            Answer::Refused(refusal.problem().clone())
        }
    };
    let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
    bytes.push(b'\n');
    // Whoever asked may be gone; what was done stands.
    let _gone = writer.write_all(&bytes).await;
}

async fn run(server: &Arc<Server>, command: Command) -> Result<serde_json::Value, Refusal> {
    match command {
        Command::Unseal { passphrase } => {
            let passphrase = if server.unseals_itself() { None } else { Some(read(&passphrase)?) };
            server.unseal(passphrase).await?;
            Ok(serde_json::json!({ "sealed": false }))
        }
        Command::Status if server.service().is_err() => Ok(serde_json::json!({ "sealed": true })),
        command => {
            let service = server.service()?;
            let done = tokio::task::spawn_blocking(move || control::run(&service, command)).await;
            done.map_err(Refusal::broken)?
        }
    }
}

fn read(passphrase: &Base64Bytes<1024>) -> Result<Passphrase, Refusal> {
    let text = String::from_utf8(passphrase.expose().to_vec())
        .map_err(|_| Refusal::new(ProblemCode::BadRequest, "a passphrase is UTF-8 text"))?;
    Ok(Passphrase::new(text)?)
}

const COMMAND_WITHIN: Duration = Duration::from_secs(10);
