//! An export goes to another house: the vault sends it, this tells how far it is.

use crate::admin::{ATTENTION, Client, print};
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{io::IsTerminal, process::ExitCode};

/// Has it brought, and says what came of it.
pub(crate) async fn deliver(client: &Client, address: &str, peer: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let answer = client.send(client.http.post(address).json(&json!({ "peer": peer }))).await?;
    let mut pieces = answer.bytes_stream();
    let (mut held, mut last, bar) = (Vec::new(), Value::Null, bar());
    while let Some(piece) = pieces.try_next().await.context("the vault stopped telling: it has called it off")? {
        ensure!(held.len() + piece.len() <= LINE_BYTES, "the vault's answer does not parse");
        held.extend_from_slice(&piece);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            last = serde_json::from_slice(&line).context("the vault's answer does not parse")?;
            bar.set_length(last["total"].as_u64().unwrap_or(0));
            bar.set_position(last["done"].as_u64().unwrap_or_else(|| bar.position()));
        }
    }
    bar.finish_and_clear();
    let (taken, total) = (last["taken"].as_u64(), last["total"].as_u64());
    let taken = taken.context("the vault did not say what came of it")?;
    if as_json {
        print(&last.to_string());
    }
    eprintln!("{peer} has {taken} of {} instances.", total.unwrap_or(0));
    for why in last["why"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("  {why}");
    }
    Ok(if Some(taken) == total { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} instances, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// No line is nearly as long.
const LINE_BYTES: usize = 256 * 1024;
