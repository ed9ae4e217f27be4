//! A real OpenID provider on loopback: `oidc-provider` of npm, which `tests/all` installs.

use crate::peers::said;
use crate::workspace_root;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    /// Its issuer.
    pub issuer: String,
}

impl Provider {
    /// Starts one; nothing where it is not installed.
    ///
    /// # Panics
    /// When it does not start, or is missing though everything has to be here.
    #[must_use]
    pub fn start() -> Option<Self> {
        let folder: PathBuf = workspace_root().join("target/oidc");
        if !folder.join("node_modules/oidc-provider").exists() {
            assert!(std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(), "oidc-provider is missing: run tests/all");
            eprintln!("oidc-provider is not on this machine: not looked at");
            return None;
        }
        let mut child = Command::new("node")
            .arg(workspace_root().join("tests/oidc/provider.mjs"))
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut issuer = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut issuer).expect("it says its issuer");
        Some(Self { child, issuer: issuer.trim().to_owned() })
    }

    fn tell(&self, path: &str, body: &Value) -> Value {
        let output = Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--fail-with-body", "-d", &body.to_string()])
            .arg(format!("{}{path}", self.issuer))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{path}: {}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Who signs in next, and what is another one of his claims from now on.
    ///
    /// # Panics
    /// When it is not understood.
    pub fn person(&self, name: &str, change: &Value) {
        self.tell("/test/person", &json!({ "name": name, "change": change }));
    }

    /// Carries a browser from the vault's address through the provider: what the way back says.
    ///
    /// # Panics
    /// When the provider does not send it back.
    #[must_use]
    pub fn carry(&self, address: &str) -> Value {
        let back = self.tell("/test/carry", &json!({ "address": address }));
        let back = url::Url::parse(back["back"].as_str().expect("an address")).expect("an address");
        assert_eq!(back.path(), "/provider");
        back.query_pairs().map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
