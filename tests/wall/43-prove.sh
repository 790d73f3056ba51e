#!/bin/bash
# What tries the wall must itself be sound: a target that hangs delays nothing and is told, what could not be judged
# refuses under strict, and a breach stops the account it was found for, and no other.
# not: wall-san, wall-abi2, host (time limits and the flag are the same there; 67-prove.sh shows the unit)
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 3 || exit 1
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
echo 'plugins: {apart: {uses: unruly, run_as: untrusted, retry: {max_attempts: 1}, timeouts: {poll: 2s}}}' | add_config apart
ductile-install -q apply >/dev/null 2>&1 || exit 1
gate() { as_service /usr/local/bin/ductile-gate "$@"; }
STRICT=/etc/ductile/plugins.d/strict.yaml
strictly() { # strictly COMMAND...: with fail_on_sidedoor: strict
    local rc
    echo 'service: {admission: {fail_on_sidedoor: strict}}' >$STRICT && chgrp ductile $STRICT && chmod 640 $STRICT
    "$@"; rc=$?
    rm $STRICT
    return $rc
}
# says CODE PATTERN... -- COMMAND...: exit code, and each pattern in what it says
says() {
    local code=$1 patterns=() out rc p
    shift
    while [ "$1" != -- ]; do patterns+=("$1"); shift; done
    shift
    out=$("$@" 2>&1); rc=$?
    echo "$out" | tee "$WORK/said"; echo "exit $rc"
    [ $rc = "$code" ] || return 1
    for p in "${patterns[@]}"; do grep -qE "$p" <<<"$out" || { echo "not said: $p"; return 1; }; done
}
within() { # within MS COMMAND...
    local limit=$1 began=$(date +%s%N) rc took
    shift
    "$@"; rc=$?
    took=$((($(date +%s%N) - began) / 1000000))
    echo "$took ms" | tee "$WORK/took"
    [ $took -lt "$limit" ] && return $rc
}
TIME='GATE-TIME-01: a check or an attempt did not answer in its time'
check "control: a sound host passes, under strict too" strictly says 0 pass -- gate check --boot

# ---- what hangs -----------------------------------------------------------------------------------------------------
hang() { # hang DIRECTORY HOW
    /opt/wall/hang "$1" "$2" >"$WORK/mounted" 2>&1 &
    server=$! where=$1
    for _ in $(seq 100); do grep -q mounted "$WORK/mounted" && return; sleep 0.05; done
    cat "$WORK/mounted"; return 1
}
answer_again() { kill -KILL $server; wait $server 2>/dev/null; umount -l "$where"; }
mkdir -p /home/matt/.aws && chown matt /home/matt/.aws && chmod 755 /home/matt/.aws && setfacl -m o::x /home/matt
hang /home/matt/.aws ignore || exit 1
check "a target that hangs delays its own attempt only, and the line names probe, account and target" \
    within 14000 says 0 "unproven $TIME: default" 'operator-creds: .* /home/matt/.aws: no answer within 4 s' "unproven $TIME: untrusted" -- gate prove
cp "$WORK/said" "$WORK/said.kept"
figure "a hung target: $(cat "$WORK/took"), two accounts at once"
check "what stands behind it was tried all the same" says 0 '^thread +must work +works +works' '^operator-creds .*unproven ETIMEDOUT' -- cat "$WORK/said.kept"
answer_again
setfacl -m o::--- /home/matt; rmdir /home/matt/.aws
hang /home/matt keep || exit 1
check "a home that hangs, and whose callers cannot be killed, does not hang the boot: it is told, and all else was checked" \
    within 14000 says 0 "unproven $TIME: /home/matt" 'why: within 4 s it did not answer the check of homes' "unproven $TIME: matt" \
    'the drop did not get past stage cwd within 4 s: /home/matt' -- gate check --boot
figure "home: $(cat "$WORK/took")"
check "under strict a home that hangs refuses the boot" strictly says 78 "unproven $TIME: /home/matt" REFUSED -- gate check --boot
answer_again

# ---- what cannot be judged ------------------------------------------------------------------------------------------
gone() { mv /var/lib/ductile/vault/vault.age "$WORK/"; "$@"; local rc=$?; mv "$WORK/vault.age" /var/lib/ductile/vault/; return $rc; }
GONE='open the vault .*: the target is not there'
check "a target that is gone is unproven" gone says 0 'unproven GATE-WALL-02: .*: default' "$GONE" -- gate check --boot
check "under strict a target that is gone refuses the boot" gone strictly says 78 'unproven GATE-WALL-02: .*: default' "$GONE" REFUSED -- gate check --boot
twinless() { # what root found must be as new as that change
    setfacl -m u:ductile-default:--- /etc/passwd; ductile-install -q apply >/dev/null 2>&1
    "$@"; local rc=$?
    setfacl -b /etc/passwd; ductile-install -q apply >/dev/null 2>&1
    return $rc
}
check "a probe whose control fails is told" twinless says 0 'unproven GATE-WALL-02: .*: default' 'EACCES, but so was the twin' -- gate check --boot
check "under strict a probe whose control fails refuses the boot" twinless strictly says 78 'but so was the twin' REFUSED -- gate check --boot

# ---- each of the later rows bites -------------------------------------------------------------------------------------
sockets() { # sockets MODE COMMAND...: with a container service's socket
    local mode=$1 pid rc
    shift
    python3 -c 'import os, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind("/run/docker.sock"); s.listen(); os.chmod("/run/docker.sock", int(sys.argv[1], 8)); time.sleep(60)' "$mode" >/dev/null & pid=$!
    for _ in $(seq 40); do [ -S /run/docker.sock ] && break; sleep 0.05; done; sleep 0.1
    "$@"; rc=$?
    kill $pid; wait $pid 2>/dev/null; rm -f /run/docker.sock
    return $rc
}
check "a container service's socket is denied" sockets 660 says 0 '^container-socket +dac +denied EACCES . twin opens' -- gate prove
check "one that all may open is a breach" sockets 666 says 1 '^container-socket +dac +ALLOWED +ALLOWED +ALLOWED' 'refused GATE-WALL-01' -- gate prove
check "afterwards it is clean again" says 0 -- gate prove

# ---- a breach while the gateway serves --------------------------------------------------------------------------------
state() { run_job "$1" poll '{}' | json 'd["state"] + ": " + d["reason"]'; }
is() { local s; s=$(state "$1"); echo "$s"; [[ $s == "$2"* ]]; } # is PLUGIN STATE
succeeds() { is "$1" succeeded; }
refused() { is unruly 'refused: breached: GATE-WALL-01: the wall of account default was climbed (sibling-state)'; }
check "the gateway starts behind its gate" start_gateway
check "control: jobs of both accounts run" eval 'succeeds unruly && succeeds apart'
open_sibling() { setfacl -m u:ductile-default:rx /var/lib/ductile/accounts/untrusted; }
shut_sibling() { setfacl -b /var/lib/ductile/accounts/untrusted; chmod 700 /var/lib/ductile/accounts/untrusted; }
open_sibling
check "prove finds the breach" says 1 'refused GATE-WALL-01: the wall was climbed: default' 'account default is breached \(sibling-state\)' -- gate prove
check "the flag is the service's alone" says 0 '^ductile:ductile:600 default sibling-state$' -- eval 'echo "$(stat -c %U:%G:%a /run/ductile/breach) $(cat /run/ductile/breach)"'
check "no job of that account starts, and the record says why" refused
check "jobs of another account go on" succeeds apart
check "status says so" says 0 '^BREACHED +account default: ALLOWED: list another account.s state_dir' -- ductile status
healthz() { python3 - <<'P'
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/run/ductile/api.sock"); s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
print(s.makefile().read().splitlines()[-1])
P
}
check "healthz says so" says 0 '"status":"breached"' '"breached":1' -- healthz
check "the journal says so" says 0 'BREACH: the wall of account default was climbed .sibling-state.' -- gateway_log
restarted() { stop_gateway; shut_sibling; start_gateway && refused; }
check "a restart does not forget it: that it is shut must be seen" restarted
untried() { open_sibling; gate prove >/dev/null 2>&1; twin() { setfacl -m u:ductile-default:--- /usr; "$@"; local rc=$?; setfacl -b /usr; return $rc; }; shut_sibling; twin says 1 'sibling-state was open when it was last tried, and could not be tried again' -- gate prove && refused; }
check "a prove that cannot try that row does not lift it" untried
check "a later prove that finds it shut lifts it" says 0 pass -- gate prove
check "and the jobs start again" eval '[ ! -e /run/ductile/breach ] && succeeds unruly && succeeds apart'
check "healthz is ok again" says 0 '"status":"ok"' '"breached":0' -- healthz
forged() { install -o matt -m 644 /dev/null /run/ductile/x && mv /run/ductile/x /run/ductile/breach && sleep 0.3; is unruly 'refused: breached' && is apart 'refused: breached'; }
check "a flag that is not the service's stops every account" forged
check "prove makes it anew" eval 'gate prove >/dev/null 2>&1; sleep 0.2; succeeds unruly'
stop_gateway

# ---- a gateway that ends meanwhile --------------------------------------------------------------------------------------
# Until somebody waits for it, a process that has ended is there without memory, and its maps open for everybody, empty.
beside_ended() { # beside_ended COMMAND...: the lock names a warden that has just ended
    local pid rc
    python3 - <<'P' & pid=$!
import os, pwd, time
def as_user(name, do):
    pid = os.fork()
    if pid == 0:
        user = pwd.getpwnam(name)
        os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid); do(); os._exit(0)
    return pid
with open("/run/ductile/lock", "w") as f:
    f.write("warden %d\nbus %d\n" % (as_user("ductile", lambda: None), as_user("ductile-bus", lambda: time.sleep(60))))
time.sleep(60)
P
    for _ in $(seq 40); do grep -qs bus /run/ductile/lock && break; sleep 0.05; done; sleep 0.2
    setpriv --reuid=ductile-default --clear-groups cat "/proc/$(warden_pid)/maps" || echo "this kernel denies it by itself"
    grep ') Z ' "/proc/$(warden_pid)/stat" && "$@"; rc=$?
    kill $pid "$(bus_pid)"; wait $pid 2>/dev/null; rm /run/ductile/lock
    return $rc
}
check "a warden that has ended, and that nobody has waited for yet, is no breach" beside_ended says 0 '^proc-warden .*denied EACCES' -- gate prove
