//! What may be typed.

use crate::{config::PersonClass, keyring::ClientRole, store::PersonRole};
use clap::{Args, Parser, Subcommand, ValueEnum};
use leadglass_keys::wire::{Hex32, LogHead, Scope, Word};
use leadglass_model::{Purpose, StudyRef, TenantId};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Keeps the keys of a Leadglass vault, on a host of their own.
///
/// It never sees an image or a patient's name. Vaults reach it over mutual TLS. A new key service is made in this order:
///
///   leadglass-keyd --data DIR init --sheet sheet.txt      (print the sheet, lock it away, delete the file)
///   leadglass-keyd --data DIR ca init
///   leadglass-keyd --data DIR ca issue server --name keys.example.org --ip 10.0.0.5
///   leadglass-keyd --data DIR ca issue client --label vault --out vault
///   leadglass-keyd --data DIR tenant add practice
///   leadglass-keyd --data DIR client add --label vault --cert vault.pem --role ingest --role vault
///   leadglass-keyd --data DIR serve
///
/// Commands work on a running service, and, when none runs, on the data directory itself.
#[derive(Debug, Parser)]
#[command(name = "leadglass-keyd", version, verbatim_doc_comment, propagate_version = true, max_term_width = 110)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// The data directory.
    #[arg(
        long,
        global = true,
        env = "LEADGLASS_KEYD_DATA",
        default_value = "/var/lib/leadglass-keyd",
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// Print one JSON value to stdout instead of words.
    #[arg(long, global = true)]
    pub json: bool,
    /// Read the passphrase from this file instead of asking for it.
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Where systemd puts credentials.
    #[arg(long, global = true, env = "CREDENTIALS_DIRECTORY", hide = true, value_name = "DIR")]
    pub credentials_directory: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Make a key service in an empty data directory and print its recovery sheet.
    Init(Init),
    /// Run the key service.
    Serve(Serve),
    /// Unseal a running service with the passphrase.
    Unseal,
    /// Say how the service stands.
    Status,
    /// Say what would go wrong: exit code 8 while something is red.
    Doctor,
    /// Take a backup now. It holds wrapped keys only and opens nothing without capsule and sheet.
    Backup,
    /// End an epoch, so that no earlier backup opens any more; or tell the epochs.
    #[command(subcommand)]
    Epoch(EpochTask),
    /// Bring a dead key host back: newest backup (or mirror) + capsule + recovery sheet, into an empty data directory.
    Restore(Restore),
    /// Give an approval on the key host: one that waits, or a new one.
    Approve(Approve),
    /// List approvals, and who is suspended.
    Approvals,
    /// Rotate a tenant's key-encryption key or its shard keys. No image is touched.
    Rotate(Rotate),
    /// Write study keys in clear for `leadglass open --key-file`, under an approval of the action `escrow`.
    Escrow(Escrow),
    /// Add and list tenants.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Enrol, list and revoke clients.
    #[command(subcommand)]
    Client(Client),
    /// People whose passkeys approve jobs in the browser, checked here.
    #[command(subcommand)]
    People(People),
    /// The small certificate authority behind mutual TLS.
    #[command(subcommand)]
    Ca(Ca),
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Who keeps the epoch key.
    #[arg(long, value_enum, default_value_t = ProviderKind::Passphrase)]
    pub provider: ProviderKind,
    /// The key file, outside the data directory; made if it is not there.
    #[arg(long, value_name = "FILE", required_if_eq("provider", "key-file"))]
    pub key_file: Option<PathBuf>,
    /// The name of the systemd credential that holds the key file.
    #[arg(long, value_name = "NAME", required_if_eq("provider", "credential"))]
    pub credential: Option<String>,
    /// Write the recovery sheet here instead of printing it. Print it, then delete the file.
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// Memory that stretching a passphrase takes, in KiB.
    #[arg(long, value_name = "KIB")]
    pub kdf_memory_kib: Option<u32>,
    /// Settings for the configuration file.
    #[command(flatten)]
    pub settings: Settings,
}

/// What goes into `keyd.toml`.
#[derive(Debug, Args)]
pub struct Settings {
    /// Where the one port listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// A folder on another disk that every key reaches before it is used.
    #[arg(long, value_name = "DIR")]
    pub mirror: Option<PathBuf>,
    /// Where backups go.
    #[arg(long, value_name = "DIR")]
    pub backups: Option<PathBuf>,
    /// Where recovery capsules go; never into a backup.
    #[arg(long, value_name = "DIR")]
    pub capsules: Option<PathBuf>,
    /// An origin of the vault's pages at which people approve with passkeys: https://vault.example.org, with its port unless that
    /// is 443; repeat for more, all of one host.
    #[arg(long, value_name = "ORIGIN")]
    pub passkey_origin: Vec<String>,
    /// The budget class of persons that the configuration does not name.
    #[arg(long, value_enum, value_name = "CLASS")]
    pub budget_class: Option<PersonClass>,
    /// Distinct studies that one vault node may open in an hour.
    #[arg(long, value_name = "N")]
    pub node_per_hour: Option<u32>,
    /// Distinct studies of one tenant that may be opened in a day.
    #[arg(long, value_name = "N")]
    pub tenant_per_day: Option<u32>,
}

/// Who keeps the epoch key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// A person types a passphrase after each start.
    Passphrase,
    /// A file outside the data directory; unseals at start.
    KeyFile,
    /// A systemd credential; unseals at start.
    Credential,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Use this configuration instead of the data directory's.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here instead of where the configuration says.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Write {"addr":…,"sealed":…} to this file once the port is open.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Stop when stdin closes, so that a supervisor's death ends the service.
    #[arg(long)]
    pub stdin_guard: bool,
}

/// `epoch`.
#[derive(Debug, Subcommand)]
pub enum EpochTask {
    /// End the epoch: new keyring, fresh backup, and after `epoch_hold` the old key is destroyed. Every backup taken
    /// before opens nothing from then on.
    Advance {
        /// SHA-256 of a backup that was copied to its second place and is of today's keyring. Left out: one is taken.
        #[arg(long, value_name = "SHA256", value_parser = digest)]
        backup: Option<Hex32>,
    },
    /// Every epoch that began here, with what became of the one before, signed.
    List,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup; with `--try` the newest of the data directory's when left out.
    #[arg(long, value_name = "FILE", conflicts_with = "mirror_copy")]
    pub backup: Option<PathBuf>,
    /// A mirror folder, which holds everything that was answered.
    #[arg(long = "from-mirror", value_name = "DIR")]
    pub mirror_copy: Option<PathBuf>,
    /// The folder with the epoch's capsule; with `--try` the data directory's when left out.
    #[arg(long = "from-capsules", value_name = "DIR")]
    pub capsule_copy: Option<PathBuf>,
    /// The recovery sheet, typed into a file.
    #[arg(long, value_name = "FILE")]
    pub sheet: PathBuf,
    /// Only prove that it works, on the key host itself; `doctor` is red until this was done.
    #[arg(long = "try")]
    pub rehearse: bool,
    /// Who keeps the epoch key from now on.
    #[arg(long, value_enum, default_value_t = ProviderKind::Passphrase)]
    pub provider: ProviderKind,
    /// The key file, outside the data directory; made if it is not there.
    #[arg(long, value_name = "FILE", required_if_eq("provider", "key-file"))]
    pub key_file: Option<PathBuf>,
    /// The name of the systemd credential that holds the key file.
    #[arg(long, value_name = "NAME", required_if_eq("provider", "credential"))]
    pub credential: Option<String>,
    /// Memory that stretching a passphrase takes, in KiB.
    #[arg(long, value_name = "KIB")]
    pub kdf_memory_kib: Option<u32>,
    /// Settings for the new configuration file.
    #[command(flatten)]
    pub settings: Settings,
}

/// `approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The approval that waits (see `approvals`).
    #[arg(value_name = "ID", conflicts_with_all = ["action", "tenant", "study", "count", "log", "readmit"], value_parser = word)]
    pub id: Option<Word>,
    /// What a new approval is for: unwrap, destroy, escrow, epoch-advance or log-reset.
    #[arg(long, value_parser = word, default_value = "unwrap")]
    pub action: Word,
    /// Whose studies; left out only for log-reset and epoch-advance.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<TenantId>,
    /// The purpose that studies are opened for.
    #[arg(long)]
    pub purpose: Option<Purpose>,
    /// What is opened: object or index.
    #[arg(long, value_parser = scope)]
    pub scope: Option<Scope>,
    /// A study that it covers; repeat for more, at most 256.
    #[arg(long, value_name = "STUDY_REF")]
    pub study: Vec<StudyRef>,
    /// How many distinct studies it covers, when none is named.
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// For log-reset: the log that the witness is to believe, as the vault says it when it is refused.
    #[arg(long, value_name = "SIZE:ROOT", required_if_eq("action", "log-reset"))]
    pub log: Option<LogHead>,
    /// How long it holds.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub lasting: Duration,
    /// Let a suspended person or node in again (`person:…`, `node:…`, see `approvals`); after a restore `receipts` opens what
    /// waits for a vault's receipts, where no vault is left that has any.
    #[arg(long, value_name = "WHO")]
    pub readmit: Option<String>,
}

/// `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Whose keys.
    #[arg(long, value_name = "TENANT")]
    pub tenant: TenantId,
    /// Which keys.
    #[arg(long, value_enum, default_value_t = What::Shards)]
    pub what: What,
}

/// What to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The key-encryption key around the tenant's secrets.
    Kek,
    /// The shard keys around the tenant's study keys; every wrap is moved.
    Shards,
}

/// `escrow`.
#[derive(Debug, Args)]
pub struct Escrow {
    /// Whose keys.
    #[arg(long, value_name = "TENANT")]
    pub tenant: TenantId,
    /// A study; repeat for more. Left out: all of the tenant.
    #[arg(long, value_name = "STUDY_REF")]
    pub study: Vec<StudyRef>,
    /// The approval.
    #[arg(long, value_name = "ID", value_parser = word)]
    pub approval: Word,
    /// Where the file goes; it must not be there yet. Whoever holds it reads those studies.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `tenant`.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Make a tenant with its keys.
    Add {
        /// What the installation calls it: a-z, 0-9, - . : / _, at most 64. Never a person's name.
        #[arg(value_parser = word)]
        label: Word,
    },
    /// List tenants.
    List,
}

/// `client`.
#[derive(Debug, Subcommand)]
pub enum Client {
    /// Enrol a client by the hash of its public key. Its certificate may be renewed over the same key.
    Add {
        /// What people call it.
        #[arg(long)]
        label: String,
        /// The client's certificate, PEM.
        #[arg(long, value_name = "FILE", required_unless_present = "key_hash", conflicts_with = "key_hash")]
        cert: Option<PathBuf>,
        /// SHA-256 of the client's SubjectPublicKeyInfo, 64 hexadecimal digits.
        #[arg(long, value_name = "HEX")]
        key_hash: Option<String>,
        /// What it may do; repeat for more. One vault program holds ingest and vault.
        #[arg(long, value_enum, required = true)]
        role: Vec<ClientRole>,
        /// A tenant that it works for; repeat for more. Left out: all tenants.
        #[arg(long, value_name = "TENANT")]
        tenant: Vec<TenantId>,
    },
    /// List clients.
    List,
    /// Take an enrolment back; the client is refused from its next call on.
    Revoke {
        /// SHA-256 of the client's SubjectPublicKeyInfo, as `client list` shows it.
        #[arg(value_name = "KEY_HASH")]
        key_hash: String,
    },
}

/// `people`.
#[derive(Debug, Subcommand)]
pub enum People {
    /// Add somebody and print the code with which he enrols his passkey at the vault, under "Your account", within a day.
    ///
    /// It needs `[passkeys]` in keyd.toml: the vault's host name and the origins of its pages. Give the code to the person
    /// himself, not by way of the vault.
    Add {
        /// Whose jobs.
        #[arg(long, value_name = "TENANT")]
        tenant: TenantId,
        /// dpo: destruction, and opening in bulk for subject-request, erasure, research, quality, legal-claim. admin: opening in
        /// bulk for storage-check (reindex, verify, drill, migration).
        #[arg(long, value_enum)]
        role: PersonRole,
        /// What he is called here, at most 64 characters.
        #[arg(long, value_name = "WORDS")]
        label: String,
    },
    /// List them with state and fingerprint.
    List,
    /// Let an enrolled passkey count: shows its fingerprint, to be compared with what the person sees at the vault.
    ///
    /// Have the person read the fingerprint out by telephone or face to face. Whoever owns the vault can show a fingerprint of his
    /// own; a security key whose own tool lists its credentials shows the credential's id, which nobody else can alter.
    Confirm {
        /// Who, as `people list` names him.
        #[arg(value_name = "ID", value_parser = word)]
        id: Word,
        /// The fingerprint as the person read it out; left out: it is shown, and asked about.
        #[arg(long, value_name = "FINGERPRINT")]
        fingerprint: Option<String>,
    },
    /// Take somebody out; what his passkey approved and is not used up ends.
    Remove {
        /// Who, as `people list` names him.
        #[arg(value_name = "ID", value_parser = word)]
        id: Word,
    },
}

/// `ca`.
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Make the authority. Its private key stands in the keyring and nowhere else.
    Init {
        /// Its common name.
        #[arg(long, default_value = "Leadglass key service")]
        label: String,
    },
    /// Issue a certificate for 90 days.
    #[command(subcommand)]
    Issue(Issue),
}

/// `ca issue`.
#[derive(Debug, Subcommand)]
pub enum Issue {
    /// For the key service itself; with --out for another server of the installation, as OUT.pem and OUT-key.pem.
    Server {
        /// Its common name.
        #[arg(long, default_value = "Leadglass key service")]
        label: String,
        /// Where the files go, without `.pem`; left out: where `serve` looks for them.
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
        /// Renew over this private key.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A DNS name that clients call it by; repeat for more.
        #[arg(long, value_name = "DNS")]
        name: Vec<String>,
        /// An IP address that clients call it by; repeat for more.
        #[arg(long, value_name = "IP")]
        ip: Vec<std::net::IpAddr>,
    },
    /// For a client: writes OUT.pem and OUT-key.pem and prints the key hash for `client add`.
    Client {
        /// Its common name.
        #[arg(long)]
        label: String,
        /// Where the files go, without `.pem`.
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
        /// Renew over this private key, so that the enrolment holds.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

fn digest(text: &str) -> Result<Hex32, &'static str> {
    text.parse().map_err(|_| "64 lower-case hexadecimal digits")
}

fn word(text: &str) -> Result<Word, &'static str> {
    Word::new(text).ok_or("1 to 64 of a-z 0-9 - . : / _")
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    match text {
        "object" => Ok(Scope::Object),
        "index" => Ok(Scope::Index),
        _ => Err("not a scope: object or index"),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number and s, m, h or d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and s, m, h or d".to_owned())?;
    number.checked_mul(seconds).filter(|s| *s > 0).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 broken · 2 wrong command line or input · 3 denied (wrong passphrase, sheet or approval) · 4 not there ·
5 contradicts what is there · 6 not now (sealed, busy, over budget) · 7 bytes are not what was written · 8 doctor is red";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_and_nonsense_is_not() {
        assert_eq!(duration("90m").unwrap(), Duration::from_secs(5400));
        for bad in ["", "h", "5", "0s", "-1h", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
