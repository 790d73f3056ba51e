#!/bin/bash
# A hostile plugin tries to climb out of `default`, `untrusted` and the credentialed account. Then the controls: every
# row must open somewhere, or its denial proves nothing.
. "$(dirname "$0")/../lib/common.sh"

install_suite && install_wall && make_people matt
ductile-install -q init --posture hybrid --operator matt >/dev/null
ductile-install -q apply >/dev/null || exit 1
ductile plugin add "$SRC/tests/wall/plugins/climb" >/dev/null
ductile plugin lock climb >/dev/null
{
    echo "plugins:"
    for account in default untrusted matt; do
        printf "  climb_%s:\n    uses: climb\n    run_as: %s\n    retry: {max_attempts: 1}\n    config:\n      targets: '%s'\n" \
            $account $account "$(targets_for $account matt)"
    done
} | add_config climb
ductile-install -q apply >/dev/null || exit 1

state_of() { [ "$1" = matt ] && echo /home/matt || echo "/var/lib/ductile/accounts/$1"; }
uid_of() { [ "$1" = matt ] && id -u matt || id -u "ductile-$1"; }
pids() { printf '{"pids": {"warden": %s, "bus": %s}}' "$(warden_pid)" "$(bus_pid)"; }
climb_as() { ductile job run --json "climb_$1" poll --payload "$(pids)" >"$WORK/$1.$2.json"; }

# ---- the wall ------------------------------------------------------------------------------------------------------
check "the gateway starts behind its gate" start_gateway
for account in default untrusted matt; do
    check "the probe ran as $account" climb_as $account walled
    confined=$([ $account = matt ] || echo --confined)
    check "$account is walled: every row denied with its errno, clean identity, threads work" \
        "$SRC/tests/wall/judge.py" walled "$WORK/$account.walled.json" --state "$(state_of $account)" --uid "$(uid_of $account)" $confined
done
check "the record says which layers held" bash -c "ductile job show 1 | grep -q 'layers dac,caps,nnp,seccomp,landlock-domain,landlock-write.*keyring'"
no_root() { local all; all=$(pgrep -f '/usr/local/.*ductile-(run|bus)'); [ "$(wc -w <<<"$all")" -ge 2 ] || { echo "found only: $all"; return 1; }; for p in $all; do awk '/^Uid:/ { if ($2==0||$3==0||$4==0) exit 1 }' /proc/$p/status || return 1; done; }
check "no process of the gateway has uid 0" no_root
stop_gateway

# ---- controls --------------------------------------------------------------------------------------------------------
opened() { "$SRC/tests/wall/judge.py" opened "$@"; }

# The naive drop: from the same service user with the same two ambient capabilities, a plain change of uid.
uid=$(id -u ductile-default) gid=$(id -g ductile-default)
targets_for default matt >"$WORK/targets.json"
chmod 755 "$WORK"; chmod 644 "$WORK/targets.json"
as_service setpriv --reuid="$uid" --regid="$gid" --clear-groups /opt/ductile/plugins/climb/climb.py --targets "$WORK/targets.json" >"$WORK/setpriv.json"
check "control: a plain setpriv drop keeps both capabilities" python3 -c "
import json,sys; c=json.load(open('$WORK/setpriv.json'))['identity']['caps']; sys.exit(0 if int(c['CapEff'],16)==0xc0 and int(c['CapAmb'],16)==0xc0 else 1)"
check "control: a plain setpriv drop becomes service, bus, operator and root, and reads the key and the ledger" \
    opened "$WORK/setpriv.json" become-service become-bus become-root become-operator become-service-and-read-key \
    become-bus-and-read-ledger setgroups become-root+2^32 become-service+2^32 become-bus+2^32 become-operator+2^32
note "it changed into: $(python3 -c "
import json; print(', '.join(r['row']+' -> '+r['detail'] for r in json.load(open('$WORK/setpriv.json'))['rows'] if r['row'].startswith('become') and r['found']=='allowed')[:300])")"

# The same warden without one layer at a time: what that layer holds must open.
control() { # control NAME BREAK ACCOUNT ROW...
    local name=$1 layers=$2 account=$3
    shift 3
    BREAK=$layers start_gateway >/dev/null && climb_as "$account" "$name"
    stop_gateway
    check "control: without $name $(echo "$*" | tr ' ' ,) open" opened "$WORK/$account.$name.json" "$@"
}
control keepcaps keepcaps,nofilter,noproof default become-service become-bus become-root become-operator \
    become-service-and-read-key become-bus-and-read-ledger setgroups
control seccomp nofilter,noproof default userns-unshare userns-clone userns-clone3
control uid nouid,keepcaps,noproof,dumpable,nonnp default secret-zero vault config api-socket ptrace-warden \
    vm-readv-warden pidfd-getfd-warden proc-warden signal-warden
control bus-uid asbus,keepcaps,noproof,dumpable,nonnp default ledger ptrace-bus vm-readv-bus pidfd-getfd-bus proc-bus signal-bus
control floor-owner asroot,noproof,nonnp default list-floor
