//! Structured logs without patients.
//!
//! Our own crates log at `info`; everybody else's at `warn`: HTTP and storage libraries print URIs and headers below
//! that. A panic is reported by its place alone: its message may hold a value.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the subscriber (standard error) and the panic hook.
pub fn install(format: Format, verbose: bool) {
    let own = if verbose { "debug" } else { "info" };
    let filter = EnvFilter::new(OURS.iter().fold("warn".to_owned(), |all, name| format!("{all},{name}={own}")));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).init(),
        Format::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init(),
    }
    std::panic::set_hook(Box::new(|info| {
        let place =
            info.location().map_or_else(|| "an unknown place".to_owned(), |l| format!("{}:{}", l.file(), l.line()));
        tracing::error!(place, "panic at {place}");
    }));
}

const OURS: [&str; 13] = [
    "leadglass",
    "leadglass_audit",
    "leadglass_dimse",
    "leadglass_engine",
    "leadglass_index",
    "leadglass_index_sled",
    "leadglass_journal",
    "leadglass_keys",
    "leadglass_records",
    "leadglass_seal",
    "leadglass_store",
    "leadglass_tap",
    "leadglass_web",
];
