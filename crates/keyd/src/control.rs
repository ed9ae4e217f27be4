//! Commands of the key host: what `leadglass-keyd` asks of the service, running or not.
//!
//! A running service holds the data directory's lock and listens on `control.sock` in it, which only its own user (and root)
//! may talk to: one line of JSON in, one line out, and the connection ends. When nobody holds the lock, the command line
//! unseals by itself and runs the same [`run`].

use crate::{
    ca::{self, LeafKind},
    disk::{self, DiskError},
    doctor,
    keyring::Client,
    refusal::Refusal,
    service::{EscrowAsk, NewClient, NewOfficer, Service},
};
use leadglass_keys::wire::{Base64Bytes, Hex32, Job, Problem, ProblemCode, RotateWhat, Word};
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::fd::AsRawFd,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// One command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Command {
    /// Unseals a running, sealed service.
    Unseal {
        /// The passphrase.
        passphrase: Base64Bytes<1024>,
    },
    /// How things stand.
    Status,
    /// What is wrong.
    Doctor,
    /// Takes a backup.
    Backup,
    /// Ends the epoch.
    EpochAdvance {
        /// SHA-256 of a fresh backup; without it one is taken.
        backup: Option<Hex32>,
    },
    /// Tells the epochs that began here.
    Epochs,
    /// Lists approvals and suspensions.
    Approvals,
    /// Gives a lodged approval.
    Approve {
        /// Which.
        id: Word,
    },
    /// Lodges and gives an approval.
    ApproveJob {
        /// For what.
        job: Box<Job>,
    },
    /// Lets a suspended person or node in again.
    Readmit {
        /// The budget's counter.
        who: String,
    },
    /// Rotates and, for shards, moves every wrap.
    Rotate {
        /// Whose keys.
        tenant: TenantId,
        /// Which keys.
        what: RotateWhat,
    },
    /// Writes an escrow file.
    Escrow(EscrowAsk),
    /// Makes a tenant.
    TenantAdd {
        /// What the installation calls it.
        label: Word,
    },
    /// Lists tenants.
    TenantList,
    /// Enrols a client.
    ClientAdd(NewClient),
    /// Lists clients.
    ClientList,
    /// Takes an enrolment back.
    ClientRevoke {
        /// SHA-256 of the client's public key, hexadecimal.
        key_hash: String,
    },
    /// Adds somebody whose passkey approves.
    PersonAdd(NewOfficer),
    /// Lists them.
    PersonList,
    /// Lets a passkey count.
    PersonConfirm {
        /// Whose.
        id: Word,
        /// Its fingerprint, as it was compared.
        fingerprint: String,
    },
    /// Takes somebody out.
    PersonRemove {
        /// Whom.
        id: Word,
    },
    /// Makes the certificate authority.
    CaInit {
        /// Its common name.
        label: String,
    },
    /// Issues a certificate.
    CaIssue {
        /// Its common name.
        label: String,
        /// What it is for.
        kind: LeafKind,
        /// The key pair to renew over, if not a fresh one.
        existing_key: Option<PathBuf>,
        /// Where certificate and key go: `OUT.pem`, `OUT-key.pem`; without it the service's own place.
        out: Option<PathBuf>,
    },
}

/// The answer on the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done(Value),
    /// Not done.
    Refused(Problem),
}

/// Why a running service could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The service said no.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// Its answer cannot be read.
    #[error("the running key service answered something unreadable")]
    Unreadable,
    /// The socket could not be used.
    #[error("the data directory is in use, but its service does not answer on control.sock")]
    NoAnswer(#[source] std::io::Error),
}

/// Runs a command on an unsealed service. Blocks.
pub fn run(service: &Arc<Service>, command: Command) -> Result<Value, Refusal> {
    match command {
        Command::Unseal { .. } => Ok(json!({ "sealed": false })),
        Command::Status => to_value(&service.standing()?),
        Command::Doctor => to_value(&doctor::examine(service)?),
        Command::Backup => to_value(&service.backup()?),
        Command::EpochAdvance { backup } => {
            let digest = match backup {
                Some(digest) => digest,
                None => service.backup()?.sha256.parse().map_err(Refusal::broken)?,
            };
            to_value(&service.advance(digest, None)?)
        }
        Command::Epochs => to_value(&service.epochs()?),
        Command::Approvals => Ok(json!({ "approvals": service.approvals()?, "suspended": service.suspensions() })),
        Command::Approve { id } => to_value(&service.approve(&id)?),
        Command::ApproveJob { job } => to_value(&service.approve_job(*job)?),
        Command::Readmit { who } => {
            service.clear_suspension(&who)?;
            Ok(json!({ "readmitted": who }))
        }
        Command::Rotate { tenant, what } => rotate(service, tenant, what),
        Command::Escrow(ask) => Ok(json!({ "keys": service.escrow(&ask)?, "out": ask.out })),
        Command::TenantAdd { label } => to_value(&service.add_tenant(&label)?),
        Command::TenantList => Ok(json!({ "tenants": service.all_tenants() })),
        Command::ClientAdd(new) => Ok(client(&service.enrol(new)?)),
        Command::ClientList => {
            let clients: Vec<Value> = service.clients().iter().map(client).collect();
            Ok(json!({ "clients": clients }))
        }
        Command::ClientRevoke { key_hash } => Ok(client(&service.revoke_client(&key_hash)?)),
        Command::PersonAdd(new) => {
            let (id, code) = service.add_person(new)?;
            Ok(json!({ "id": id, "code": &*code }))
        }
        Command::PersonList => Ok(json!({ "people": service.people()? })),
        Command::PersonConfirm { id, fingerprint } => to_value(&service.confirm_person(&id, &fingerprint)?),
        Command::PersonRemove { id } => {
            service.remove_person(&id)?;
            Ok(json!({ "id": id, "removed": true }))
        }
        Command::CaInit { label } => ca_init(service, &label),
        Command::CaIssue { label, kind, existing_key, out } => {
            ca_issue(service, &label, &kind, existing_key.as_deref(), out)
        }
    }
}

/// Asks the running service that holds `dir`.
pub fn ask(dir: &Path, command: &Command) -> Result<Value, AskError> {
    let stream = connect(dir).map_err(AskError::NoAnswer)?;
    let line = exchange(stream, command).map_err(AskError::NoAnswer)?;
    match serde_json::from_slice(&line) {
        Ok(Answer::Done(value)) => Ok(value),
        Ok(Answer::Refused(problem)) => Err(AskError::Refused(Box::new(problem))),
        Err(_) => Err(AskError::Unreadable),
    }
}

/// The socket by way of its folder's descriptor: a socket's own path may be at most 107 bytes long, a data directory's not.
pub fn socket_path(dir: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd()))
}

fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    let dir = std::fs::File::open(dir)?;
    UnixStream::connect(socket_path(&dir))
}

fn exchange(mut stream: UnixStream, command: &Command) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut line = zeroize::Zeroizing::new(serde_json::to_vec(command)?);
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_LINE_BYTES)).read_until(b'\n', &mut answer)?;
    Ok(answer)
}

fn rotate(service: &Arc<Service>, tenant: TenantId, what: RotateWhat) -> Result<Value, Refusal> {
    let rotated = service.rotate_keys(tenant, what)?;
    let mut moved = 0;
    if what == RotateWhat::Shards {
        loop {
            let progress = service.rewrap_keys(tenant, REWRAPPED_AT_ONCE)?;
            moved += progress.moved;
            if progress.left == 0 {
                break;
            }
            if progress.moved == 0 {
                return Err(Refusal::new(ProblemCode::Internal, "wraps are left that cannot be moved"));
            }
        }
    }
    Ok(json!({ "version": rotated.version, "moved": moved }))
}

fn ca_init(service: &Service, label: &str) -> Result<Value, Refusal> {
    let now = service.clock.now();
    let authority = ca::init(label, now).map_err(refused)?;
    let pem = authority.certificate_pem.clone();
    service.change_keyring(|keyring| {
        if keyring.authority.is_some() {
            return Err(Refusal::new(ProblemCode::Conflict, "there is an authority already"));
        }
        keyring.authority = Some(authority);
        Ok(())
    })?;
    let path = service.layout.ca_certificate();
    write_pem(&path, &pem)?;
    Ok(json!({ "certificate": path }))
}

fn ca_issue(
    service: &Service,
    label: &str,
    kind: &LeafKind,
    existing_key: Option<&Path>,
    out: Option<PathBuf>,
) -> Result<Value, Refusal> {
    let keyring = service.keyring();
    let authority = keyring
        .authority
        .as_ref()
        .ok_or_else(|| Refusal::new(ProblemCode::NotFound, "there is no authority yet: run `ca init` first"))?;
    let issued = ca::issue(authority, label, kind, existing_key, service.clock.now()).map_err(refused)?;
    let (certificate, key) = match (&out, kind) {
        (Some(out), _) => (with_suffix(out, ".pem"), with_suffix(out, "-key.pem")),
        (None, LeafKind::Server { .. }) => (service.layout.server_certificate(), service.layout.server_key()),
        (None, LeafKind::Client) => {
            return Err(Refusal::new(ProblemCode::BadRequest, "a client's certificate needs a place: --out"));
        }
    };
    if existing_key.is_none() {
        write_pem(&key, &issued.key_pem.0)?;
    }
    write_pem(&certificate, &issued.certificate_pem)?;
    if !service.layout.ca_certificate().exists() {
        write_pem(&service.layout.ca_certificate(), &authority.certificate_pem)?;
    }
    Ok(json!({
        "certificate": certificate,
        "key": existing_key.map_or(key, Path::to_owned),
        "ca": service.layout.ca_certificate(),
        "key_hash": issued.key_hash,
        "not_after": issued.not_after,
    }))
}

fn write_pem(path: &Path, pem: &str) -> Result<(), DiskError> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        disk::private_dir(parent)?;
    }
    disk::replace(path, pem.as_bytes())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn client(client: &Client) -> Value {
    json!({
        "key_hash": hex::encode(client.key_hash),
        "label": client.label,
        "roles": client.roles,
        "tenants": client.tenants,
        "enrolled_at": client.enrolled_at_ms,
    })
}

fn to_value(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(Refusal::broken)
}

fn refused(error: ca::CaError) -> Refusal {
    let code = match error.fault() {
        leadglass_model::Fault::BadInput => ProblemCode::BadRequest,
        leadglass_model::Fault::Missing => ProblemCode::NotFound,
        _ => ProblemCode::Internal,
    };
    let sentence = error.to_string();
    Refusal::new(code, &sentence).because(error)
}

/// The longest command or answer, in bytes.
pub const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;
/// A rotation of a million keys takes about a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
const REWRAPPED_AT_ONCE: u32 = 4096;
