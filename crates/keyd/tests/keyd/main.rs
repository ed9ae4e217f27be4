//! The key service as its clients and its operators meet it: the real binary, real sockets, mutual TLS.

mod budgets;
mod calls;
mod cli;
mod crash;
mod destroy;
mod passphrase;
mod recovery;
mod stolen;
mod support;
