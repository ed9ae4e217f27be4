//! From the command line to the service and back.

use super::{
    EXIT_RED,
    args::{
        Approve, Ca, Cli, Client, EpochTask, Init, Issue, People, ProviderKind, Restore, Settings, Task, Tenant, What,
    },
    ask, exit_code,
    print::{self, Form},
    serve,
};
use crate::{
    approval::{ACTION_EPOCH, ACTION_LOG_RESET},
    backup,
    ca::{self, LeafKind},
    capsule::RecoverySheet,
    config::{BudgetConfig, Config, PasskeyConfig, ProviderConfig},
    control::{self, AskError, Command},
    disk::{self, DirLock, Taken},
    hygiene,
    layout::Layout,
    provider::KeyFileProvider,
    refusal::Refusal,
    restore::{self, Source},
    service::{EscrowAsk, NewClient, NewOfficer, Service, Started},
    setup,
};
use clap::Parser;
use leadglass_keys::wire::{Base64Bytes, Few, INSTALLATION, Job, MAX_BATCH, ProblemCode, RotateWhat, Word};
use leadglass_model::{Clock, SystemClock, SystemEntropy};
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode, sync::Arc};

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    hygiene::mute_panics();
    let serving = matches!(cli.command, Task::Serve(_));
    log_to_stderr(serving);
    let form = if cli.json { Form::Json } else { Form::Words };
    match run(&cli, form) {
        Ok(code) => code,
        Err(refusal) => {
            let causes = refusal.causes();
            match form {
                Form::Json => {
                    let problem = serde_json::to_value(refusal.problem()).unwrap_or_default();
                    print::say(&json!({ "error": problem }).to_string());
                }
                Form::Words if causes.is_empty() || causes == refusal.to_string() => {
                    print::say(&format!("leadglass-keyd: {refusal}"));
                }
                Form::Words => print::say(&format!("leadglass-keyd: {refusal} ({causes})")),
            }
            exit_code(&refusal)
        }
    }
}

fn run(cli: &Cli, form: Form) -> Result<ExitCode, Refusal> {
    let layout = Layout::new(&cli.data);
    match &cli.command {
        Task::Init(init) => shown(form, make(cli, &layout, init, form)?),
        Task::Serve(args) => {
            serve::serve(layout, cli.credentials_directory.clone(), args)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Restore(args) => shown(form, bring_back(cli, &layout, args)?),
        Task::Doctor => {
            let diagnosis = ask_service(cli, &layout, Command::Doctor)?;
            let red = diagnosis.get("light").and_then(Value::as_str) == Some("red");
            shown(form, diagnosis)?;
            Ok(if red { ExitCode::from(EXIT_RED) } else { ExitCode::SUCCESS })
        }
        Task::People(People::Confirm { id, fingerprint: None }) => {
            let people = ask_service(cli, &layout, Command::PersonList)?;
            let fingerprint = compared(&people, id)?;
            shown(form, ask_service(cli, &layout, Command::PersonConfirm { id: id.clone(), fingerprint })?)
        }
        task => shown(form, ask_service(cli, &layout, command(cli, task)?)?),
    }
}

fn shown(form: Form, value: Value) -> Result<ExitCode, Refusal> {
    print::answer(form, &value).map_err(Refusal::broken)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the running service, or unseals the data directory and runs the command here.
fn ask_service(cli: &Cli, layout: &Layout, command: Command) -> Result<Value, Refusal> {
    if !layout.database().exists() {
        return Err(Refusal::new(ProblemCode::NotFound, "there is no key service in this data directory: run `init`"));
    }
    let _lock = match DirLock::take(layout.root())? {
        Taken::Elsewhere => {
            return control::ask(layout.root(), &command).map_err(|error| match error {
                AskError::Refused(problem) => Refusal::from_problem(*problem),
                other => Refusal::new(ProblemCode::Busy, "the running key service does not answer").because(other),
            });
        }
        Taken::Mine(lock) => lock,
    };
    if matches!(command, Command::Unseal { .. }) {
        return Err(Refusal::new(ProblemCode::NotFound, "no key service is running on this data directory"));
    }
    let _weaker = hygiene::guard();
    let config = Config::read(&layout.config())?;
    let entropy = Arc::new(SystemEntropy);
    let provider = setup::provider(layout, &config, cli.credentials_directory.as_deref(), entropy.clone(), || {
        ask::passphrase(cli.passphrase_file.as_deref())
    })?;
    let started = Started { layout: layout.clone(), config, clock: Arc::new(SystemClock), entropy };
    let service = Service::open(started, provider).map_err(Refusal::from_open)?;
    let before = service.keyring().sequence;
    let answer = control::run(&service, command)?;
    if service.keyring().sequence != before {
        service.backup()?;
    }
    Ok(answer)
}

fn command(cli: &Cli, task: &Task) -> Result<Command, Refusal> {
    Ok(match task {
        Task::Unseal => {
            let config = Config::read(&Layout::new(&cli.data).config())?;
            let text = match config.provider {
                ProviderConfig::Passphrase { .. } => ask::passphrase_text(cli.passphrase_file.as_deref())?,
                ProviderConfig::KeyFile { .. } | ProviderConfig::Credential { .. } => zeroize::Zeroizing::default(),
            };
            let passphrase = Base64Bytes::new(text.as_bytes())
                .ok_or_else(|| Refusal::new(ProblemCode::BadRequest, "a passphrase is at most 1024 bytes"))?;
            Command::Unseal { passphrase }
        }
        Task::Status => Command::Status,
        Task::Backup => Command::Backup,
        Task::Epoch(EpochTask::Advance { backup }) => Command::EpochAdvance { backup: *backup },
        Task::Epoch(EpochTask::List) => Command::Epochs,
        Task::Approvals => Command::Approvals,
        Task::Approve(approve) => approval(approve)?,
        Task::Rotate(rotate) => Command::Rotate {
            tenant: rotate.tenant,
            what: match rotate.what {
                What::Kek => RotateWhat::TenantKek,
                What::Shards => RotateWhat::Shards,
            },
        },
        Task::Escrow(escrow) => Command::Escrow(EscrowAsk {
            tenant: escrow.tenant,
            studies: escrow.study.clone(),
            approval: escrow.approval.clone(),
            out: absolute(&escrow.out)?,
        }),
        Task::Tenant(Tenant::Add { label }) => Command::TenantAdd { label: label.clone() },
        Task::Tenant(Tenant::List) => Command::TenantList,
        Task::Client(Client::Add { label, cert, key_hash, role, tenant }) => {
            let key_hash = match (cert, key_hash) {
                (Some(path), _) => hex::encode(ca::key_hash_of_file(path).map_err(unreadable)?),
                (None, Some(hash)) => hash.clone(),
                (None, None) => return Err(Refusal::new(ProblemCode::BadRequest, "give --cert or --key-hash")),
            };
            Command::ClientAdd(NewClient {
                key_hash,
                label: label.clone(),
                roles: role.clone(),
                tenants: tenant.clone(),
            })
        }
        Task::Client(Client::List) => Command::ClientList,
        Task::Client(Client::Revoke { key_hash }) => Command::ClientRevoke { key_hash: key_hash.clone() },
        Task::People(People::Add { tenant, role, label }) => {
            Command::PersonAdd(NewOfficer { tenant: *tenant, role: *role, label: label.clone() })
        }
        Task::People(People::List) => Command::PersonList,
        Task::People(People::Confirm { id, fingerprint }) => {
            Command::PersonConfirm { id: id.clone(), fingerprint: fingerprint.clone().unwrap_or_default() }
        }
        Task::People(People::Remove { id }) => Command::PersonRemove { id: id.clone() },
        Task::Ca(Ca::Init { label }) => Command::CaInit { label: label.clone() },
        Task::Ca(Ca::Issue(Issue::Server { label, out, key, name, ip })) => {
            let mut names: Vec<String> = name.iter().cloned().chain(ip.iter().map(ToString::to_string)).collect();
            if names.is_empty() {
                names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            }
            let kind = LeafKind::Server { names };
            Command::CaIssue {
                label: label.clone(),
                kind,
                existing_key: key.as_deref().map(absolute).transpose()?,
                out: out.as_deref().map(absolute).transpose()?,
            }
        }
        Task::Ca(Ca::Issue(Issue::Client { label, out, key })) => Command::CaIssue {
            label: label.clone(),
            kind: LeafKind::Client,
            existing_key: key.as_deref().map(absolute).transpose()?,
            out: Some(absolute(out)?),
        },
        Task::Init(_) | Task::Serve(_) | Task::Doctor | Task::Restore(_) => Command::Doctor,
    })
}

/// Shows a fingerprint; gives it back when whoever sits here says that the person sees the same.
fn compared(people: &Value, id: &Word) -> Result<String, Refusal> {
    let people = people.get("people").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let person = people.iter().find(|person| person.get("id").and_then(Value::as_str) == Some(id.as_str()));
    let person = person.ok_or_else(|| Refusal::new(ProblemCode::NotFound, "no such person"))?;
    let text = |name: &str| person.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(fingerprint), Some(credential)) = (text("fingerprint"), text("credential_id")) else {
        return Err(Refusal::new(ProblemCode::Conflict, "no passkey was enrolled for this person yet"));
    };
    print::say(&format!(
        "{}, {}\nfingerprint  {fingerprint}\ncredential   {credential}",
        text("label").unwrap_or_default(),
        text("role").unwrap_or_default(),
    ));
    if ask::says_yes("Does the person see the same fingerprint? Type yes: ")? {
        return Ok(fingerprint);
    }
    Err(Refusal::new(ProblemCode::Forbidden, "not confirmed; if the fingerprints differ, remove this person"))
}

fn approval(approve: &Approve) -> Result<Command, Refusal> {
    if let Some(who) = &approve.readmit {
        return Ok(Command::Readmit { who: who.clone() });
    }
    if let Some(id) = &approve.id {
        return Ok(Command::Approve { id: id.clone() });
    }
    let reset = matches!(approve.action.as_str(), ACTION_LOG_RESET | ACTION_EPOCH);
    let tenant = match approve.tenant {
        Some(tenant) => tenant,
        None if reset => INSTALLATION,
        None => return Err(Refusal::new(ProblemCode::BadRequest, "a new approval needs --tenant")),
    };
    if approve.study.is_empty() && approve.count.is_none() && !reset {
        return Err(Refusal::new(ProblemCode::BadRequest, "a new approval needs --study or --count"));
    }
    let study_refs = Few::new(approve.study.clone())
        .ok_or_else(|| Refusal::new(ProblemCode::BadRequest, &format!("at most {MAX_BATCH} studies are named")))?;
    let job = Job {
        tenant,
        action: approve.action.clone(),
        purpose: approve.purpose,
        scope: approve.scope,
        study_refs,
        count: approve.count,
        log: approve.log,
        until: SystemClock.now().plus_secs(approve.lasting.as_secs()),
    };
    Ok(Command::ApproveJob { job: Box::new(job) })
}

fn make(cli: &Cli, layout: &Layout, init: &Init, form: Form) -> Result<Value, Refusal> {
    setup::refuse_used(layout)?;
    let config = new_config(
        &init.settings,
        provider_config(init.provider, init.kdf_memory_kib, init.key_file.as_deref(), init.credential.as_deref())?,
    )?;
    let provider = new_provider(cli, layout, &config)?;
    let made = setup::init(layout, &config, provider.as_ref(), &SystemClock, &SystemEntropy)?;
    let page = made.sheet.page();
    let mut answer = json!({
        "data": layout.root(),
        "config": layout.config(),
        "capsule": made.capsule,
        "recovery_recipient": made.sheet.recipient(),
    });
    match &init.sheet {
        Some(path) => {
            disk::create(path, page.as_bytes())?;
            answer["sheet"] = json!(path);
            print::say("Print the recovery sheet, check that it can be read, then delete the file.");
        }
        None if form == Form::Json => answer["sheet_text"] = json!(page.as_str()),
        None => print::say(&page),
    }
    Ok(answer)
}

fn bring_back(cli: &Cli, layout: &Layout, args: &Restore) -> Result<Value, Refusal> {
    let sheet_text = zeroize::Zeroizing::new(disk::read_bounded(&args.sheet, MAX_SHEET_BYTES)?);
    let sheet = RecoverySheet::parse(&String::from_utf8_lossy(&sheet_text))?;
    let existing = if args.rehearse { Some(Config::read(&layout.config())?) } else { None };
    let source = match (&args.backup, &args.mirror_copy, &existing) {
        (Some(path), _, _) => Source::Backup(path.clone()),
        (None, Some(folder), _) => Source::Mirror(folder.clone()),
        (None, None, Some(config)) => Source::Backup(backup::newest(&config.backups(layout))?),
        (None, None, None) => {
            return Err(Refusal::new(ProblemCode::BadRequest, "give --backup FILE or --from-mirror DIR"));
        }
    };
    let capsules = match (&args.capsule_copy, &existing) {
        (Some(folder), _) => folder.clone(),
        (None, Some(config)) => config.capsules(layout),
        (None, None) => return Err(Refusal::new(ProblemCode::BadRequest, "give --from-capsules DIR")),
    };
    if existing.is_some() {
        let opened = restore::rehearse(&source, &capsules, &sheet)?;
        restore::keep_proof(layout, &source, &opened, SystemClock.now())?;
        print::say("The restore works. Nothing was changed.");
        return serde_json::to_value(opened).map_err(Refusal::broken);
    }
    let config = new_config(
        &args.settings,
        provider_config(args.provider, args.kdf_memory_kib, args.key_file.as_deref(), args.credential.as_deref())?,
    )?;
    restore::may_begin(layout)?;
    let provider = new_provider(cli, layout, &config)?;
    let from = (&source, capsules.as_path(), &sheet);
    let opened = restore::restore(layout, &config, provider.as_ref(), from, (&SystemClock, &SystemEntropy))?;
    print::say(
        "Restored. Issue a server certificate (`ca issue server`), then `serve`. Enrolled clients stay enrolled.",
    );
    serde_json::to_value(opened).map_err(Refusal::broken)
}

fn new_provider(
    cli: &Cli,
    layout: &Layout,
    config: &Config,
) -> Result<Box<dyn crate::provider::SealProvider>, Refusal> {
    let entropy = Arc::new(SystemEntropy);
    disk::private_dir(layout.root())?;
    if let Some(path) = setup::key_file(layout, config, cli.credentials_directory.as_deref())? {
        let provider = KeyFileProvider::new(layout.root(), path, layout.epoch(), entropy.clone())?;
        // A systemd credential is made by systemd-creds; a key file may be made here.
        if matches!(config.provider, ProviderConfig::KeyFile { .. }) {
            provider.make_key_file()?;
        }
    }
    setup::provider(layout, config, cli.credentials_directory.as_deref(), entropy, || {
        ask::new_passphrase(cli.passphrase_file.as_deref())
    })
}

fn provider_config(
    kind: ProviderKind,
    memory_kib: Option<u32>,
    key_file: Option<&Path>,
    credential: Option<&str>,
) -> Result<ProviderConfig, Refusal> {
    let missing = |what: &str| Refusal::new(ProblemCode::BadRequest, what);
    Ok(match kind {
        ProviderKind::Passphrase => ProviderConfig::Passphrase { memory_kib },
        ProviderKind::KeyFile => {
            let path = key_file.ok_or_else(|| missing("give --key-file FILE"))?;
            ProviderConfig::KeyFile { path: absolute(path)? }
        }
        ProviderKind::Credential => {
            let name = credential.ok_or_else(|| missing("give --credential NAME"))?;
            ProviderConfig::Credential { name: name.to_owned() }
        }
    })
}

fn new_config(settings: &Settings, provider: ProviderConfig) -> Result<Config, Refusal> {
    let mut budgets = BudgetConfig::default();
    if let Some(class) = settings.budget_class {
        budgets.default_class = class;
    }
    budgets.node_per_hour = settings.node_per_hour.unwrap_or(budgets.node_per_hour);
    budgets.tenant_per_day = settings.tenant_per_day.unwrap_or(budgets.tenant_per_day);
    let folder = |path: &Option<std::path::PathBuf>| path.as_deref().map(absolute).transpose();
    let mut config = Config::new(provider);
    config.listen = settings.listen.unwrap_or(config.listen);
    config.mirror = folder(&settings.mirror)?;
    config.backups = folder(&settings.backups)?;
    config.capsules = folder(&settings.capsules)?;
    config.budgets = budgets;
    if !settings.passkey_origin.is_empty() {
        let passkeys = PasskeyConfig::at(&settings.passkey_origin).ok_or_else(|| {
            Refusal::new(ProblemCode::BadRequest, "an origin is https://NAME or https://NAME:PORT, all of one name")
        })?;
        config.passkeys = Some(passkeys);
    }
    Ok(config)
}

/// A running service has another working directory than the shell that asks it.
fn absolute(path: &Path) -> Result<std::path::PathBuf, Refusal> {
    std::path::absolute(path)
        .map_err(|error| Refusal::new(ProblemCode::BadRequest, "the path cannot be used").because(error))
}

fn unreadable(error: ca::CaError) -> Refusal {
    let sentence = error.to_string();
    Refusal::new(ProblemCode::BadRequest, &sentence).because(error)
}

fn log_to_stderr(serving: bool) {
    let level = if serving { "info,h2=warn,hyper=warn,rustls=warn,tower=warn" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only the first subscriber counts; in tests there may be one already.
    let _set = if serving { subscriber.json().try_init() } else { subscriber.try_init() };
}

const MAX_SHEET_BYTES: u64 = 16 * 1024;
