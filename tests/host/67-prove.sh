#!/bin/bash
# The unit that tries the wall beside the running gateway: after READY, as the service user; its timer; and what a breach
# sets off - status, healthz, the journal, the one command of OnFailure=.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
echo 'plugins: {apart: {uses: unruly, run_as: untrusted, retry: {max_attempts: 1}, timeouts: {poll: 2s}}}' | add_config apart
ductile-install -q apply >/dev/null 2>&1 || exit 1

of() { systemctl show -p "$2" --value "$1"; }
state() { run_job "$1" poll '{}' | json 'd["state"] + ": " + d["reason"]'; }
is() { local s; s=$(state "$1"); echo "$s"; [[ $s == "$2"* ]]; }
settled() { # the run of ductile-prove.service is over
    for _ in $(seq 200); do case $(of ductile-prove ActiveState) in activating | reloading) sleep 0.1 ;; *) return 0 ;; esac; done
    return 1
}
proven() { ledger "select outcome from gate_run where verb='prove' order by id desc limit 1"; }
rung() { journalctl --sync; journalctl -t alarm -o cat --no-pager | grep -x 'rang for ductile-prove.service'; }
n_proven() { ledger "select count(*) from gate_run where verb='prove'"; }

check "the units are well-formed" systemd-analyze verify --man=no /etc/systemd/system/ductile-prove.service /etc/systemd/system/ductile-prove.timer
check "the gateway starts" start_gateway
ran() {
    settled
    systemctl show -p Result,ExecMainStatus,User,AmbientCapabilities,CapabilityBoundingSet,NoNewPrivileges ductile-prove | tee "$WORK/prove.unit"
    grep -qx 'Result=success' "$WORK/prove.unit" && grep -qx 'User=ductile' "$WORK/prove.unit" &&
        grep -qx 'AmbientCapabilities=cap_setgid cap_setuid' "$WORK/prove.unit" && grep -qx 'NoNewPrivileges=yes' "$WORK/prove.unit" && [ "$(n_proven)" = 1 ]
}
check "ductile-prove.service ran, as the service user with the two capabilities" ran
after() { local ready began; ready=$(of ductile ActiveEnterTimestampMonotonic) began=$(of ductile-prove ExecMainStartTimestampMonotonic); echo "ready $ready, prove $began"; [ "$ready" -gt 0 ] && [ "$began" -ge "$ready" ]; }
check "after READY" after
check "it tried the running warden and bus, and says so in status" bash -c "ductile status | tee /dev/stderr | grep -qE '^proven +(pass|warn) at .* by prove'"
armed() { systemctl list-timers --all --no-pager | tee /dev/stderr | grep -q 'ductile-prove.timer' && [ "$(of ductile-prove.timer ActiveState)" = active ] && [ "$(of ductile-prove.timer NextElapseUSecMonotonic)" != infinity ]; }
check "its timer is armed" armed
hourly() { grep -x 'OnUnitActiveSec=3600s' /etc/systemd/system/ductile-prove.timer; }
check "for every hour, by default" hourly
stop_gateway
check "it stops with the gateway" test "$(of ductile-prove.timer ActiveState)" = inactive

echo 'gate: {reprobe_every: 2s}' | add_config often
ductile-install -q apply >/dev/null 2>&1
install -D -m 644 "$SRC/share/systemd/examples/ductile-alarm.service" /etc/systemd/system/ductile-alarm.service
install -D -m 644 "$SRC/share/systemd/examples/ductile-prove.service.d/alarm.conf" /etc/systemd/system/ductile-prove.service.d/alarm.conf
printf 'ALARM=%s\n' "logger -t alarm rang for \$UNIT" >/etc/default/ductile-alarm
check "the gateway starts, with gate.reprobe_every: 2s and an alarm" start_gateway
again() { local n; n=$(n_proven); for _ in $(seq 100); do [ "$(n_proven)" -gt $((n + 1)) ] && return; sleep 0.1; done; systemctl list-timers --all --no-pager; return 1; }
check "the timer starts it again, and again" again
check "control: no alarm yet, and both accounts work" eval '! rung && is unruly succeeded && is apart succeeded'
setfacl -m u:ductile-default:rx /var/lib/ductile/accounts/untrusted
found() { for _ in $(seq 100); do [ -e /run/ductile/breach ] && return; sleep 0.1; done; return 1; }
check "a breach is found by the timer" found
sleep 0.5
check "no job of that account starts" is unruly 'refused: breached: GATE-WALL-01'
check "jobs of another go on" is apart succeeded
check "status says so" bash -c "ductile status | tee /dev/stderr | grep -q '^BREACHED *account default: ALLOWED'"
healthz() { python3 - <<'P'
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/run/ductile/api.sock"); s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
print(s.makefile().read().splitlines()[-1])
P
}
check "healthz says so" eval 'healthz | tee /dev/stderr | grep -q "\"status\":\"breached\""'
check "the journal says so, from the warden and from the gate" eval 'journalctl --sync; gateway_log | grep -q "BREACH: the wall of account default was climbed" && journalctl -u ductile-prove -o cat --no-pager | grep -q "refused GATE-WALL-01"'
rang() { for _ in $(seq 50); do rung && return; sleep 0.1; done; systemctl status ductile-alarm --no-pager; return 1; }
check "the command of OnFailure= ran" rang
setfacl -b /var/lib/ductile/accounts/untrusted; chmod 700 /var/lib/ductile/accounts/untrusted
lifted() { for _ in $(seq 100); do [ ! -e /run/ductile/breach ] && break; sleep 0.1; done; sleep 0.5; is unruly succeeded && healthz | grep -q '"status":"ok"'; }
check "shut again, the next run lifts it" lifted
stop_gateway

echo 'gate: {reprobe_every: 0}' | add_config often
check "with reprobe_every: 0 there is no timer" eval 'ductile-install apply && [ ! -e /etc/systemd/system/ductile-prove.timer ] && ! grep -q prove.timer /etc/systemd/system/ductile.service && ductile-install plan'
n=$(n_proven)
check "and the unit runs after each start all the same" eval 'start_gateway && settled && [ "$(n_proven)" = $((n + 1)) ]'
stop_gateway
chmod 755 /var/lib/ductile/accounts/untrusted; n=$(n_proven)
check "where the gateway does not start it does not run" eval '! start_gateway; settled; [ "$(n_proven)" = "$n" ]'
chmod 700 /var/lib/ductile/accounts/untrusted
