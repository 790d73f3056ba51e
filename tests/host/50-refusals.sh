#!/bin/bash
# A gate that refuses: id, what, why, what to do, exit 78, no restart, no socket, no ledger file.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
SECONDS_WITHOUT_RESTART=${REFUSAL_S:-2}
figure "each refusal watched for $SECONDS_WITHOUT_RESTART s"
cp -a /etc/ductile "$WORK/etc"
restore() {
    rm -rf /etc/ductile && cp -a "$WORK/etc" /etc/ductile
    rm -f /run/systemd/system/ductile.service.d/*.conf
    gpasswd -d ductile-default docker >/dev/null 2>&1
    ductile-install -q apply >/dev/null 2>&1
    systemctl daemon-reload
}
no_ledger() { rm -f /var/lib/ductile/ledger/*; }

# gate_refuses NAME ID WORD 'CHANGE': with the change the unit refuses to start, and says so
refused() {
    local id=$1 word=$2 since
    since=$(date '+%F %T.%N')
    systemctl reset-failed ductile 2>/dev/null
    systemctl start ductile && { echo "it started"; systemctl stop ductile; return 1; }
    sleep "$SECONDS_WITHOUT_RESTART"
    journalctl -u ductile --since "$since" -o cat --no-pager >"$WORK/log"
    cat "$WORK/log"
    systemctl show -p NRestarts,ActiveState,ExecStartPre ductile
    [ "$(systemctl show -p NRestarts --value ductile)" = 0 ] || return 1
    systemctl show -p ExecStartPre ductile | grep -q 'status=78' || { echo "not 78"; return 1; }
    grep -q "refused $id: .*$word" "$WORK/log" || { echo "no $id with $word"; return 1; }
    [ "$(grep -A1 "refused $id" "$WORK/log" | grep -c '  why: .')" -ge 1 ] || return 1
    [ "$(grep -A2 "refused $id" "$WORK/log" | grep -c '  do:  .')" -ge 1 ] || return 1
    [ ! -e /run/ductile/api.sock ] || { echo "a socket"; return 1; }
    [ -z "$(ls -A /var/lib/ductile/ledger)" ] || { echo "a ledger: $(ls -A /var/lib/ductile/ledger)"; return 1; }
}
refusal() {
    local name=$1 id=$2 word=$3 change=$4
    restore; no_ledger
    bash -c "$change" || echo "# the change itself failed"
    systemctl daemon-reload
    check "$name: refused with $id, 78, NRestarts=0, no socket, no ledger" refused "$id" "$word"
}
dropin() { printf "mkdir -p /run/systemd/system/ductile.service.d; printf '[Service]\\\\n%s\\\\n' >/run/systemd/system/ductile.service.d/t.conf" "$1"; }
config='/etc/ductile/config.yaml'

refusal "capabilities without accounts" GATE-CAP-01 "" "sed -i '/^accounts:/,/^  # Keys/d' $config; rm /etc/ductile/plugins.d/lab.yaml"
refusal "accounts without capabilities" GATE-CAP-02 "" "$(dropin 'AmbientCapabilities=\nCapabilityBoundingSet=')"
refusal "secret zero readable by others" GATE-KEY-01 "secret/age.key" "chmod 0644 /etc/ductile/secret/age.key"
refusal "secret zero owned by another" GATE-KEY-01 "secret/age.key" "chown ductile-default /etc/ductile/secret/age.key"
refusal "a state_dir owned by another" GATE-STATE-01 "accounts/default" "chown ductile-untrusted /var/lib/ductile/accounts/default"
refusal "a state_dir 0755" GATE-STATE-01 "accounts/default" "chmod 0755 /var/lib/ductile/accounts/default"
refusal "a confined account in docker" GATE-DOOR-01 "default" "usermod -aG docker ductile-default"
refusal "run_as names no account" CONF-LOAD-01 "" "printf 'plugins:\n  x: {run_as: nobody-we-know}\n' >/etc/ductile/plugins.d/x.yaml; chgrp ductile /etc/ductile/plugins.d/x.yaml; chmod 640 /etc/ductile/plugins.d/x.yaml"
refusal "an unknown key" CONF-LOAD-01 "" "printf 'acounts: {}\n' >>$config"
refusal "a config that the service may write" GATE-FLOOR-01 "config.yaml" "chown ductile $config"
refusal "a named ACL entry on the vault's directory" GATE-FLOOR-01 "vault" "setfacl -m u:ductile-default:x /var/lib/ductile/vault"
refusal "an egress list without its rules" GATE-EGRESS-01 "held" "printf 'accounts: {held: {egress: []}}\n' >/etc/ductile/plugins.d/x.yaml; ductile-install -q apply >/dev/null 2>&1; nft delete table inet ductile; rm -f /var/lib/ductile/ledger/*"
# The unit has /usr read-only: that closes nothing for the account's other processes.
refusal "a directory of root's PATH that an account may write" GATE-DOOR-07 "default" "setfacl -m u:ductile-default:rwx /usr/local/sbin"
setfacl -b /usr/local/sbin
was=$(id -u ductile-default)
refusal "an id that now belongs to somebody else" GATE-IDS-01 "ductile-default" "usermod -u 54321 ductile-default 2>/dev/null; chown ductile-default /var/lib/ductile/accounts/default"
usermod -u "$was" ductile-default; chown ductile-default /var/lib/ductile/accounts/default

restore
twelve() {
    cat >"$WORK/twelve.yaml" <<'Y'
service: {nam: x, max_workers: 0, drain: soon, unconfined: "yes"}
secrets: {age_key_file: relative/key}
accounts:
  default: {uid: 0, landlock: loose}
  Bad_Name: {}
  untrusted: {home: /home/u}
plugins:
  a: {run_as: nobody}
  b: {retry: {max_attempts: 101}}
pipelines:
  - {name: p, on: x}
Y
    out=$(ductile-gate -c "$WORK/twelve.yaml" check 2>&1); rc=$?
    echo "$out"
    echo "exit $rc, $(grep -cE 'twelve.yaml:[0-9]+:[0-9]+: ' <<<"$out") positions"
    [ $rc = 78 ] && [ "$(grep -oE 'twelve.yaml:[0-9]+:[0-9]+: [a-z]' <<<"$out" | wc -l)" = 12 ]
}
check "a file with 12 faults prints 12 positions" twelve

existing() { # where a ledger exists, the refusal is a row in it
    start_gateway && stop_gateway || return 1
    chmod 0755 /var/lib/ductile/accounts/default
    ! systemctl start ductile 2>/dev/null
    chmod 0700 /var/lib/ductile/accounts/default
    ledger "select outcome, (select id from gate_finding where run=gate_run.id and verdict='refuse') from gate_run order by id desc limit 1" | grep -q 'refuse|GATE-STATE-01'
}
check "where a ledger exists, the refusal is a gate_run row in it" existing

loud() { # applied, but with a unit that still holds both capabilities
    restore
    sed -i 's/^service:/service:\n  unconfined: true/' $config
    ductile-install -q apply >/dev/null 2>&1
    mkdir -p /run/systemd/system/ductile.service.d
    printf '[Service]\n%s\n' "$1" >/run/systemd/system/ductile.service.d/t.conf
    systemctl daemon-reload
    systemctl start ductile || { gateway_log | tail; return 1; }
    journalctl -u ductile -o cat --no-pager | grep -E 'GATE-LOUD-01|UNCONFINED'
    journalctl -u ductile -o cat --no-pager | grep -q 'POSTURE UNCONFINED by service.unconfined' && ductile status | grep -q '^posture *unconfined'
    local r=$? j
    j=$(enqueue unruly handle '{}'); await "$j"
    attempt_of "$j" '["caps"]' | grep -q 'eff=0 prm=0 inh=0 amb=0' || { echo "plugins got capabilities"; job "$j"; r=1; }
    stop_gateway
    return $r
}
check "service.unconfined: true starts, loudly" loud ""
check "service.unconfined: true with both capabilities held: loud, and plugins get none" loud "AmbientCapabilities=CAP_SETUID CAP_SETGID
CapabilityBoundingSet=CAP_SETUID CAP_SETGID"
restore
check "and after all that the gateway starts" start_gateway
stop_gateway
