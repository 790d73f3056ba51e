#!/bin/bash
# Each half of the gateway is taken over in turn: once it is walled in and ready it obeys an attacker who tries everything
# (tests/popped). What he got and did not get is held, row by row, against the tables of PRIVSEP.md. Controls: the same
# attempts behind no wall, and behind one with a layer less.
# not: wall-san (every half in it is of build/broken)
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
KEEPER=/opt/ductile/plugins/keeper
cp -R "$SRC/tests/wall/plugins/keeper" $KEEPER && chown -R root:root $KEEPER && chmod -R go-w,a+rX $KEEPER
cat >/etc/ductile/plugins.d/halves.yaml <<'Y'
plugins:
  keeper: {run_as: untrusted, retry: {max_attempts: 1}}
  switched_off: {uses: unruly, run_as: default, enabled: false}
api:
  listen: "127.0.0.1:18780"
  tokens:
  - {name: all, secret_ref: all-token, scopes: ["*"]}
webhooks:
- {name: known, secret_ref: known-key, plugin: unruly}
- {name: minted, secret_ref: minted-key, plugin: unruly}
Y
ductile-install -q apply >/dev/null 2>&1 && ductile plugin lock keeper >/dev/null || exit 1
printf 'treasure-of-the-half' | ductile vault secret set treasure >/dev/null && ductile vault grant treasure keeper >/dev/null 2>&1
printf 'a-key-that-the-attacker-has-as-well' | ductile vault secret set known-key >/dev/null && ductile vault grant known-key core >/dev/null 2>&1
ductile vault secret set minted-key --auto >/dev/null && ductile vault grant minted-key core >/dev/null 2>&1 || exit 1
install -m 4755 /opt/wall/rooted /opt/wall/rooted.setuid && mv /opt/wall/rooted.setuid /opt/wall/rooted
install -d -m 700 /var/backups/ductile /opt/wall/mnt
LEDGER=/var/lib/ductile/ledger RUN=/run/ductile
python3 -c 'import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("/run/popped.sock"); os.chmod("/run/popped.sock", 0o777)
while s.recv(9): pass' </dev/null >/dev/null 2>&1 &
LISTENER=$!
trap 'kill $LISTENER 2>/dev/null' EXIT

rows() { "$SRC/tests/wall/halves.py" "$@"; }
CGROUPS=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
unit_cgroup() { local c; c=$(sed -n 's/^0:://p' "/proc/$(warden_pid)/cgroup"); echo "$CGROUPS${c%/warden}"; }
# aim DIR: the attacker in the running gateway begins, and is waited for
aim() {
    rm -f "$1/popped.rows"
    printf 'warden %s bus %s cgroup %s\n' "$(warden_pid)" "$(bus_pid)" "$(unit_cgroup)" >"$WORK/targets"
    chmod 644 "$WORK/targets" && cp "$WORK/targets" "$1/.popped" && chown --reference="$1" "$1/.popped" && mv "$1/.popped" "$1/popped.targets"
}
until_said() { # until_said DIR ROW
    for _ in $(seq 900); do
        grep -qs "\"row\":\"$2\"" "$1/popped.rows" && return 0
        sleep 0.1
    done
    cat "$1/popped.rows"
    return 1
}
gone() { # gone PID [SECONDS]
    for _ in $(seq $((${2:-15} * 20))); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    return 1
}
descriptors() { find "/proc/$(warden_pid)/fd" -lname '*memfd*' -o -lname 'pipe:*' | wc -l; }
take() { mv "$1/popped.rows" "$WORK/$2"; }

# ---- the bus -------------------------------------------------------------------------------------------------------
BREAK=popbus start_gateway || exit 1
before=$(descriptors)
aim $LEDGER
check "the bus, taken over, tries everything" until_said $LEDGER "done"
cp $LEDGER/popped.rows "$WORK/bus"
check "the bus: it got what PRIVSEP.md says, row by row, and nothing else" rows table bus "$WORK/bus"
no_leak() { local now; now=$(descriptors); echo "$before, then $now"; [ "$now" = "$before" ]; }
check "the bus: what it asked for left no descriptor in the warden" no_leak
unwritten() { # it went to the plugin unrecorded in the ledger; the journal has the warden's line
    [ "$(ledger "select count(*) from audit where kind='secret.delivered'")" = 0 ] && gateway_log | grep -q 'program=ductile-run.*audit secret[._-]delivered keeper'
}
check "the bus: a delivery it did not write down stands in the warden's own log" unwritten
second() { as_service /usr/local/bin/ductile-run serve >"$WORK/second" 2>&1; local rc=$?; cat "$WORK/second"; [ $rc != 0 ] && grep -q 'refused RUN-TWICE' "$WORK/second"; }
check "beside it a second gateway does not start" second
heard() { # it shut its own log, and made it non-blocking; the warden's is as it was
    [ $((0$(sed -n 's/^flags:[^0-9]*//p' "/proc/$(warden_pid)/fdinfo/2") & 04000)) = 0 ] || { echo "it is non-blocking"; return 1; }
    local pid; pid=$(warden_pid)
    kill -TERM "$pid"; sleep 0.5; log_of "$pid" | grep -q 'program=ductile-run msg="stopping'
}
check "the bus: it cannot silence the warden's log" heard
pid=$(warden_pid); kill -KILL "$(bus_pid)"; gone "$pid"; stop_gateway >/dev/null 2>&1

said_wrong() { # said_wrong WORD: the gateway ends at once, and nothing was started
    local pid
    printf %s "$1" >$LEDGER/popped.wire && chmod 644 $LEDGER/popped.wire
    BREAK=popbus start_gateway || return 1
    pid=$(warden_pid)
    aim $LEDGER
    until_said $LEDGER said && gone "$pid" 6 || { echo "the warden lives on"; stop_gateway; return 1; }
    stop_gateway >/dev/null 2>&1
    cat $LEDGER/popped.rows
    ! grep -q '"survived","found":"allowed"' $LEDGER/popped.rows && ! pgrep -f plugins/unruly/unruly.py && log_of "$pid" | tail -5 | grep 'giving up'
}
for word in replayed ahead far-ahead wrong-magic wrong-version unknown-type huge-type wardens-type short long empty no-body \
    two-bodies three-bodies endless-name kill-with-descriptor failed-late flood; do
    check "the bus: $word: the wire ends, and the gateway with it" said_wrong $word
done
survives() { ! said_wrong right; }
check "control: the same message, right, ends nothing" survives
pkill -KILL -f plugins/unruly/unruly.py

# without NAME BREAK HALF DIR LAYER...: the rows that those layers hold open
without() {
    local name=$1 layers=$2 half=$3 dir=$4
    shift 4
    printf nothing >$LEDGER/popped.wire
    BREAK=$layers start_gateway >/dev/null && aim "$dir" && until_said "$dir" "done"
    take "$dir" "$half.$name"
    stop_gateway >/dev/null 2>&1
    rows opened "$half" "$WORK/$half.$name" "$@"
}
check "control: the bus without its filter: what seccomp alone holds opens" without nofilter popbus,nofilter bus $LEDGER seccomp
check "control: the bus without its domain: what Landlock alone holds opens" without nolandlock popbus,nolandlock bus $LEDGER landlock
check "control: the bus without either: what both hold opens" without neither popbus,nofilter,nolandlock bus $LEDGER seccomp landlock 'seccomp, landlock'
rm -f $LEDGER/popped.wire

# ---- the warden -----------------------------------------------------------------------------------------------------
warden() { # warden NAME [BREAK]
    BREAK=popwarden${2:-} start_gateway || return 1
    aim $RUN
    until_said $RUN "done" && take $RUN "$1"
    stop_gateway >/dev/null 2>&1
}
check "the warden, taken over, tries everything" warden warden
check "the warden: it got what PRIVSEP.md says, row by row, and nothing else" rows table warden "$WORK/warden"
check "control: the warden without its filter: what seccomp alone holds opens" without nofilter popwarden,nofilter warden $RUN seccomp
check "control: the warden without no_new_privs: what that holds opens" without nonnp popwarden,nonnp,noproof warden $RUN nnp
check "control: the warden beside a bus that can be read: what that holds opens" without dumpable popwarden,dumpable warden $RUN 'not dumpable'

# ---- no wall at all ---------------------------------------------------------------------------------------------------
start_gateway || exit 1
enqueue unruly handle '{"mode":"calm","seconds":60}' >/dev/null; sleep 1
"$BROKEN_BIN/popped" bus "$(warden_pid)" "$(bus_pid)" "$(unit_cgroup)" >"$WORK/bus.free" 2>&1
"$BROKEN_BIN/popped" warden "$(warden_pid)" "$(bus_pid)" "$(unit_cgroup)" >"$WORK/warden.free" 2>&1
stop_gateway >/dev/null 2>&1
check "control: behind no wall the same attempts get everything, as the bus" rows free bus "$WORK/bus.free"
check "control: behind no wall the same attempts get everything, as the warden" rows free warden "$WORK/warden.free"

# ---- two hundred accounts ----------------------------------------------------------------------------------------------
{
    echo "accounts:"
    for i in $(seq 197); do echo "  many$i: {}"; done
} | add_config many
many() { ductile-install -q apply >"$WORK/many" 2>&1 || { tail -5 "$WORK/many"; return 1; }; [ "$(grep -c '^ductile-' /etc/passwd)" -ge 198 ]; }
check "a config with two hundred accounts is applied" many
check "the warden of two hundred accounts, taken over, tries everything" warden many
check "the warden of two hundred accounts: the same rows, and no other id" rows table warden "$WORK/many"
