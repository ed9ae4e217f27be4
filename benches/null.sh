#!/usr/bin/env bash
# What ciphers and the log cost: the vault as it is beside a build without.
#
#   benches/null.sh [cipher] [--rounds 5] [--quick]   a cipher that copies (benches/null_cipher.rs), the CT set over C-STORE: the
#                                                     server CPU of the first should be at most 1.15 times that of the second
#   benches/null.sh log [--rounds 5] [--quick]        no entry for whoever opens a study, frames over DICOMweb: the log may cost at
#                                                     most 5 % of their rate
#
# Further words go to benches/ingest.py, or benches/wado.py. The second build goes into target/null or target/null-log and stays
# there: about as long as a release build. It is good for nothing else: what it writes hides nothing, or says nothing. Nothing but
# this script sets the cfgs; tests/tests/deploy.rs looks.
set -euo pipefail
cd "$(dirname "$0")/.."

what=cipher target=target/null
case "${1:-}" in
    cipher) shift ;;
    log) what=log target=target/null-log; shift ;;
esac
cargo build --release --locked -p leadglass -p leadglass-keyd
CARGO_TARGET_DIR=$target RUSTFLAGS="--cfg leadglass_null_$what" cargo build --release --locked -p leadglass
# The key service is the same one: it never sees an image, and keeps its own log.
install -t "$target/release" target/release/leadglass-keyd

python=${LEADGLASS_PYTHON:-python3}
if [ "$what" = log ]; then
    exec "$python" benches/wado.py --only plain,nolog --ask "CT frame,opening" "$@"
fi
exec "$python" benches/ingest.py --only leadglass,null --sets ct "$@"
