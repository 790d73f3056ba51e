#!/bin/bash
# make bench-vault, inside a nest
. "$(dirname "$0")/../lib/common.sh"
install_suite
ductile-install -q init --posture full-privsep && ductile-install -q apply || exit 1
exec python3 -B "$SRC/tests/bench/vault.py"
