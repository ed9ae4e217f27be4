//! `leadglass-keyd`: the key service.

#![forbid(unsafe_code)]

use std::{alloc::System, process::ExitCode};
use zeroizing_alloc::ZeroAlloc;

/// Wipes every allocation when it is freed, so that copies which no type wipes do not stay either.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    leadglass_keyd::cli::main()
}
