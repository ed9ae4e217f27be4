//! The listener and the requestor against peers that behave, misbehave, and come from another house.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests may fail loudly, and share one binary")]

mod hostile;
mod interop;
mod limits;
mod negotiation;
mod storing;
mod support;
mod tls;
