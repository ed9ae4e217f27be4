#!/usr/bin/env bash
# What ciphers cost: the vault as it is beside a build whose cipher copies (benches/null_cipher.rs), on the CT set over
# C-STORE. The server CPU of the first should be at most 1.15 times that of the second.
#
#   benches/null.sh [--rounds 5] [--quick]      further words go to benches/ingest.py
#
# The second build goes into target/null and stays there: about as long as a release build. It is good for nothing else:
# what it writes hides nothing. Nothing but this script sets the cfg; tests/tests/deploy.rs looks.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked -p leadglass -p leadglass-keyd
CARGO_TARGET_DIR=target/null RUSTFLAGS="--cfg leadglass_null_cipher" cargo build --release --locked -p leadglass
# The key service is the same one: it never sees an image.
install -t target/null/release target/release/leadglass-keyd

exec "${LEADGLASS_PYTHON:-python3}" benches/ingest.py --only leadglass,null --sets ct "$@"
