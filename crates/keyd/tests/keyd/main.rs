//! The key service as its clients and its operators meet it: the real binary, real sockets, mutual TLS.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test, as it should")]

mod authenticator;
mod budgets;
mod calls;
mod cli;
mod crash;
mod destroy;
mod passphrase;
mod people;
mod recovery;
mod stolen;
mod support;
mod witness;
