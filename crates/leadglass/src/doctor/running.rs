//! The running vault, where somebody said how to ask it: its records are sealed, and it alone reads them.

use super::Args;
use crate::{admin::Client, up::Summary};
use serde_json::Value;
use std::{fs, path::Path};

/// How to ask it, or why it cannot be asked.
pub(super) struct Running(Result<Client, &'static str>);

impl Running {
    /// By the directory of `leadglass up`, which holds a token, or by address and token.
    pub(super) fn of(args: &Args) -> Self {
        Self(match (&args.data, &args.url, &args.token_file) {
            (Some(dir), ..) => up(dir),
            (None, Some(url), Some(file)) => {
                fs::read_to_string(file).map_err(|_| "the token file cannot be read").and_then(|token| {
                    Client::at(url, token.trim(), args.ca.as_deref()).map_err(|_| "--url or --ca is not usable")
                })
            }
            _ => Err(NOT_TOLD),
        })
    }

    /// Whether somebody said how to ask.
    pub(super) fn was_named(&self) -> bool {
        !matches!(self.0, Err(NOT_TOLD))
    }

    /// A list that it answers.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, &'static str> {
        let client = self.0.as_ref().map_err(|why| *why)?;
        let list = client.get(path).await.map_err(|_| "the vault does not run, or does not take the token")?;
        list.as_array().cloned().ok_or("the vault's answer does not parse")
    }
}

fn up(dir: &Path) -> Result<Client, &'static str> {
    let text = fs::read(dir.join("up.json")).map_err(|_| "the vault does not run")?;
    let up: Summary = serde_json::from_slice(&text).map_err(|_| "up.json does not parse")?;
    Client::at(&up.http.base, &up.tokens.admin, Some(&up.ca)).map_err(|_| "up.json is not usable")
}

const NOT_TOLD: &str = "that takes --url and --token-file";
