//! The key service as `up` drives it: by its command line alone. No secret stands in an argument.

use anyhow::{Context, ensure};
use leadglass_model::TenantId;
use serde::Deserialize;
use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};
use tokio::process::Command;

/// The program and the directory it works in.
#[derive(Debug, Clone)]
pub struct Keyd {
    program: PathBuf,
    data: PathBuf,
    lock: Option<Arc<File>>,
}

#[derive(Debug, Deserialize)]
struct MadeTenant {
    tenant: TenantId,
}

impl Keyd {
    /// The key service over `data`. Its program lies beside ours.
    pub fn beside_us(data: PathBuf) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("our own program cannot be found")?;
        let program = own.with_file_name("leadglass-keyd");
        ensure!(program.is_file(), "the key service's program is missing: {}", program.display());
        Ok(Self { program, data, lock: None })
    }

    /// The same, whose commands hold a lock as long as they run: as their standard input, an empty file.
    pub fn under(self, lock: File) -> Self {
        Self { lock: Some(Arc::new(lock)), ..self }
    }

    #[cfg(test)]
    pub fn of(program: &Path, data: PathBuf) -> Self {
        Self { program: program.to_owned(), data, lock: None }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.data.join("keyd.toml")
    }

    /// The certificate that it shows.
    pub fn certificate(&self) -> PathBuf {
        self.data.join("tls").join("server.pem")
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.data.join("tls").join("ca.pem")
    }

    /// Makes keys, the key file that opens them at start, and the recovery sheet.
    pub async fn init(&self, key_file: &Path, sheet: &Path) -> anyhow::Result<()> {
        let words = ["init", "--provider", "key-file", "--key-file"].map(OsString::from);
        let args = words.into_iter().chain([key_file.into(), "--sheet".into(), sheet.into()]);
        self.run(args).await.map(drop)
    }

    /// Makes the certificate authority.
    pub async fn make_authority(&self) -> anyhow::Result<()> {
        self.run(["ca", "init", "--label", "Leadglass on this machine"].map(Into::into)).await.map(drop)
    }

    /// Issues the certificate that the key service itself shows on this machine.
    pub async fn issue_own(&self) -> anyhow::Result<()> {
        let names = ["--name", "localhost", "--ip", "127.0.0.1", "--ip", "::1"];
        self.run(["ca", "issue", "server"].into_iter().chain(names).map(Into::into)).await.map(drop)
    }

    /// Issues a certificate for another server on this machine, over a fresh key pair. The key service puts it in its
    /// own place, so it is moved away, and the key service gets another.
    pub async fn issue_server(&self, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        self.issue_own().await?;
        let own = self.certificate();
        for (from, to) in [(own.with_file_name("server-key.pem"), key), (own.clone(), certificate)] {
            std::fs::rename(&from, to)
                .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        }
        self.issue_own().await
    }

    /// Issues a client's certificate, `OUT.pem` and `OUT-key.pem`; a key that is there is kept, and the enrolment with it.
    pub async fn issue_client(&self, label: &str, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        let out = certificate.with_extension("");
        let mut args: Vec<OsString> = ["ca", "issue", "client", "--label", label, "--out"].map(Into::into).into();
        args.push(out.into());
        if key.exists() {
            args.extend(["--key".into(), key.into()]);
        }
        self.run(args).await.map(drop)
    }

    /// Makes a tenant.
    pub async fn add_tenant(&self, label: &str) -> anyhow::Result<TenantId> {
        let answer = self.run(["--json", "tenant", "add", label].map(Into::into)).await?;
        let made: MadeTenant = serde_json::from_slice(&answer).context("the new tenant's name cannot be read")?;
        Ok(made.tenant)
    }

    /// Enrols the vault: its public key may make and open study keys of all tenants.
    pub async fn enrol_vault(&self, certificate: &Path) -> anyhow::Result<()> {
        let words = ["client", "add", "--label", "vault", "--role", "ingest", "--role", "vault", "--cert"];
        self.run(words.map(OsString::from).into_iter().chain([certificate.into()])).await.map(drop)
    }

    /// The arguments of a key service that lives as long as its supervisor.
    pub fn serve_args(&self, ready_file: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        ["serve", "--data", &text(&self.data), "--stdin-guard", "--ready-file", &text(ready_file)]
            .map(Into::into)
            .into()
    }

    /// What its doctor finds; red findings are an answer too.
    pub async fn doctor(&self) -> anyhow::Result<serde_json::Value> {
        let output = self.command(["--json", "doctor"].map(Into::into)).await?;
        serde_json::from_slice(&output.stdout).with_context(|| words(&output))
    }

    async fn run(&self, args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Vec<u8>> {
        let output = self.command(args).await?;
        ensure!(output.status.success(), "{}", words(&output));
        Ok(output.stdout)
    }

    async fn command(&self, args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Output> {
        let stdin = match &self.lock {
            Some(lock) => lock.try_clone().context("the lock cannot be shared")?.into(),
            None => Stdio::null(),
        };
        Command::new(&self.program)
            .arg("--data")
            .arg(&self.data)
            .args(args)
            .stdin(stdin)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))
    }
}

fn words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    format!("the key service's program failed ({}): {}", output.status, said.trim())
}
