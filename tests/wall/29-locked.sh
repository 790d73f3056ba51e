#!/bin/bash
# Where the vault's plaintext is in the warden: in locked memory, in no core dump, and nowhere once it is released.
# not: wall-san, host, wall-abi2 (a sanitizer keeps memory of its own; on a host the dump goes elsewhere)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
lab 2 || exit 1
printf 'the-first-value-of-it' | ductile vault secret set token >/dev/null && ductile vault grant token unruly >/dev/null 2>&1
fill() { edit_vault 'd["secrets"].update({"s%d" % i: dict(d["secrets"]["token"], value="a-secret-of-ten-thousand-%05d" % i, grants=[]) for i in range('"$1"')})'; }
fill 999 || exit 1
LIMIT=$((64 << 20)) # the unit's LimitMEMLOCK
more=
as_service() { # as the driver's, under a limit
    env -i PATH="$PATH" LANG=C.UTF-8 ${SERVICE_ENV:-} ${MEMLOCK:+prlimit --memlock=$MEMLOCK:$MEMLOCK} setpriv --reuid=ductile --regid=ductile --init-groups \
        --inh-caps=+setuid,+setgid$more --ambient-caps=+setuid,+setgid$more --bounding-set=-all,+setuid,+setgid$more "$@"
}
mkdir -m 0777 "$WORK/core" && cd "$WORK/core" && ulimit -c unlimited || exit 1
small() {
    local out rc need
    MEMLOCK=65536 as_service /usr/local/bin/ductile-run serve >"$WORK/small" 2>&1; rc=$?
    cat "$WORK/small"
    need=$(sed -n 's/.*LimitMEMLOCK=\([0-9]*\)K in the unit.*/\1/p' "$WORK/small")
    [ $rc = 78 ] && grep -q 'refused VAULT-MLOCK-01' "$WORK/small" && grep -q 'RLIMIT_MEMLOCK is 64 KiB' "$WORK/small" && [ "${need:-0}" -gt 512 ] && [ "$need" -lt $((LIMIT >> 10)) ]
}
check "LimitMEMLOCK=64K: refused, with the limit that is needed" small
enough() { # the limit that was named is enough
    MEMLOCK=$(($(sed -n 's/.*LimitMEMLOCK=\([0-9]*\)K in the unit.*/\1/p' "$WORK/small") << 10)) start_gateway && stop_gateway
}
check "with the limit it names it starts" enough
# Ten thousand need more than many a container may raise its limit to; there the warden is excused from it, and all else
# is looked at the same. Where it may not even be excused (a container's root), the vault is what 8 MiB hold.
COUNT=10000
if prlimit --memlock=$LIMIT:$LIMIT true 2>/dev/null; then MEMLOCK=$LIMIT; elif capsh --has-p=cap_ipc_lock 2>/dev/null; then more=,+ipc_lock; else COUNT=3000; fi
fill $((COUNT - 1))
check "a large vault: it starts" start_gateway
figure "locked memory held by ${MEMLOCK:-${more:+CAP_IPC_LOCK, as }the limit of this host}"
plain=$(age -d -i $KEY $VAULT | wc -c)
lck() { sed -n 's/^VmLck:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(warden_pid)/status"; }
covers() { echo "VmLck $(lck) KiB, plaintext $((plain >> 10)) KiB"; [ $(($(lck) << 10)) -ge "$plain" ] && [ $(($(lck) << 10)) -le $LIMIT ]; }
check "VmLck covers the plaintext of a large vault" covers
figure "$COUNT secrets: VmLck $(lck) KiB, plaintext $((plain >> 10)) KiB"
scan() { python3 "$SRC/tests/wall/scan.py" "$(warden_pid)" "$@" | tee "$WORK/scan"; }
found() { json "d['$1']['$2']" <"$WORK/scan"; }
# Secret zero: its text, and its 32 bytes.
TEXT=$(grep -o 'AGE-SECRET-KEY-1[A-Z0-9]*' $KEY)
RAW=hex:$(python3 -c '
import sys
bits = 0
for c in sys.argv[1][16:-6].lower(): bits = bits << 5 | "qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c)
print((bits >> 4).to_bytes(32, "big").hex())' "$TEXT")
safe() { scan a-secret-of-ten-thousand- the-first-value-of-it "$TEXT" "$RAW"; [ "$(found a-secret-of-ten-thousand- found)" = $((COUNT - 1)) ] && [ "$(found the-first-value-of-it found)" = 1 ] && ! grep -q '"unsafe": [1-9]' "$WORK/scan" && [ "$(found "$TEXT" found)" = 0 ] && [ "$(found "$RAW" found)" = 1 ]; }
check "each value and the key once, in locked memory that no dump holds; the key's text nowhere" safe
run_job unruly handle '{"mode": "calm", "seconds": 0}' >/dev/null
check "after a delivery there is no second copy of what was delivered" safe
rolled() {
    edit_vault 'd["secrets"]["token"]["value"] = "the-second-value-of-it"; d["secrets"]["s7"].update(status="revoked", value="")'
    run_job unruly handle '{"mode": "calm", "seconds": 0}' >/dev/null
    scan the-first-value-of-it the-second-value-of-it a-secret-of-ten-thousand-00007 a-secret-of-ten-thousand-00008
    [ "$(found the-first-value-of-it found)" = 0 ] && [ "$(found the-second-value-of-it found)" = 1 ] && [ "$(found a-secret-of-ten-thousand-00007 found)" = 0 ] && [ "$(found a-secret-of-ten-thousand-00008 found)" = 1 ]
}
check "what was rolled or revoked is nowhere in it" rolled

# ---- core dumps ----------------------------------------------------------------------------------------------------
# abort PID: the core, if there is one, in $WORK/core
abort() {
    rm -f "$WORK"/core/core*
    kill -ABRT "$1"
    for _ in $(seq 200); do kill -0 "$1" 2>/dev/null || break; sleep 0.05; done
    sleep 0.3; ls -la "$WORK/core"
}
cores() { find "$WORK/core" -type f -size +16k | wc -l; }
naive() { # a program that has it in ordinary memory, dumped the same way
    cat >"$WORK/naive.py" <<'P'
import sys, time
value = open(sys.argv[1]).read()
open(sys.argv[2], "w").close()
time.sleep(60)
P
    age -d -i $KEY $VAULT >"$WORK/plain"; rm -f "$WORK/ready"
    python3 "$WORK/naive.py" "$WORK/plain" "$WORK/ready" & local pid=$!
    for _ in $(seq 100); do [ -e "$WORK/ready" ] && break; sleep 0.05; done
    python3 "$SRC/tests/wall/scan.py" $pid a-secret-of-ten-thousand-00008 | tee "$WORK/scan"
    [ "$(found a-secret-of-ten-thousand-00008 unsafe)" -ge 1 ] || return 1
    abort $pid; wait $pid 2>/dev/null
    [ "$(cores)" = 1 ] && grep -qa a-secret-of-ten-thousand-00008 "$WORK"/core/core*
}
check "control: a naive program's memory and dump hold the value" naive
none() { abort "$(warden_pid)"; [ "$(cores)" = 0 ]; }
check "the warden aborts, where dumps have no limit: there is none" none
wait_gateway >/dev/null
forced() {
    BREAK=dumpable start_gateway || return 1
    run_job unruly handle '{"mode": "calm", "seconds": 0}' >/dev/null
    local pid; pid=$(warden_pid)
    abort "$pid"; wait_gateway >/dev/null
    [ "$(cores)" -ge 1 ] || { echo "no dump was made"; return 1; }
    grep -qa 'ductile-run' "$WORK"/core/core* && ! grep -qaE 'a-secret-of-ten-thousand|the-second-value|AGE-SECRET-KEY-1' "$WORK"/core/core*
}
check "a dump that is forced holds the program, and no value" forced
