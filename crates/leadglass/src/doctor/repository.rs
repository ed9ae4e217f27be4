//! The audit repository: whether it can be told, and how far it was.

use super::Finding;
use crate::{
    audit::syslog::{Cursor, Receiver},
    config::Config,
};

/// One finding where a repository is configured.
pub(super) async fn look(config: &Config) -> Option<Finding> {
    let syslog = config.audit.syslog.as_ref()?;
    let told = match Cursor::read(&Cursor::place(&config.data)) {
        Ok(cursor) => cursor.filter(|cursor| cursor.receiver == format!("{}:{}", syslog.host, syslog.port)),
        Err(_) => None,
    };
    let told = told.map_or(0, |cursor| cursor.next);
    let reached = match Receiver::of(syslog) {
        Ok(receiver) => receiver.connect().await.map(drop),
        Err(error) => Err(error),
    };
    let whom = format!("{}:{}", syslog.host, syslog.port);
    Some(match reached {
        Ok(()) => Finding::green("syslog", format!("The audit repository {whom} answers; it was told {told} entries.")),
        Err(error) => Finding::yellow(
            "syslog-away",
            format!("The audit repository {whom}: {error:#}. It was told {told} entries."),
        )
        .why("What is kept here alone can be lost with this machine. Nothing is skipped: it is told when it is back.")
        .fix("look at the receiver, and at [audit.syslog]: host, port, ca"),
    })
}
