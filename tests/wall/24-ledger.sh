#!/bin/bash
# What the ledger's condition does to the gateway: a bad one refuses the start in three lines; who cannot write it says so.
# not: wall-abi2 (what is full, hung, stored or formatted meets no Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
db=/var/lib/ductile/ledger/ductile.db
bad_start() { # bad_start WORD...: the start is refused with LEDGER-01, its why holds WORD, and the file is as it was
    local before rc log
    before=$(sha256sum <$db)
    start_gateway >"$WORK/start" 2>&1 && { echo "it started"; stop_gateway; return 1; }
    cat "$WORK/start"
    grep -q 'refused LEDGER-01: the ledger /var/lib/ductile/ledger/ductile.db' "$WORK/start" && grep -A1 'refused LEDGER-01' "$WORK/start" | grep -q "  why: .*$1" &&
        grep -A2 'refused LEDGER-01' "$WORK/start" | grep -q '  do:  .' && ! grep -q 'PRAGMA' "$WORK/start" && [ "$(sha256sum <$db)" = "$before" ]
}
corrupt() { dd if=/dev/zero of=$db bs=4096 count=1 conv=notrunc status=none; printf 'not a ledger at all' | dd of=$db conv=notrunc status=none; rm -f $db-wal $db-shm; bad_start 'not a database'; }
newer() { rm -f $db*; start_gateway && stop_gateway || return 1; sqlite3 $db 'pragma user_version=99'; bad_start 'schema 99, this program knows'; }
check "a newer ledger is refused with both versions, and left as it is" newer
check "a file that is no ledger is refused in three lines, and left as it is" corrupt
rm -f $db*
idle() { # a job that waits for its plugin's parallelism only must not keep the bus busy
    cat >/etc/ductile/plugins.d/one.yaml <<'Y'
plugins: {single: {uses: unruly, run_as: default, parallelism: 1, retry: {max_attempts: 1}, timeouts: {handle: 60s}}}
Y
    ductile-install -q apply >/dev/null 2>&1; start_gateway || return 1
    local before after j k
    j=$(enqueue single handle '{"mode":"calm","seconds":2}'); k=$(enqueue single handle '{"mode":"calm","seconds":0}'); sleep 0.4
    before=$(sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$(bus_pid)/status"); sleep 1
    after=$(sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$(bus_pid)/status")
    await "$j"; await "$k"; stop_gateway
    echo "$((after - before)) wake-ups in a second"
    [ $((after - before)) -lt 20 ]
}
check "a job that waits for its plugin's turn does not keep the bus awake" idle
denied() { # somebody without the right to become the bus: no row, and a warning - not silence
    start_gateway && stop_gateway || return 1
    setpriv --reuid=ductile --regid=ductile --init-groups --bounding-set=-all ductile-gate check >"$WORK/denied" 2>&1
    cat "$WORK/denied"
    grep -qi 'ledger' "$WORK/denied"
}
check "a gate that cannot write the ledger says so" denied
