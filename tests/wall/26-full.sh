#!/bin/bash
# A plugin that fills the file system of the ledger: what was acknowledged is not lost, new work is refused, and when there
# is room again everything goes on by itself. fill-disk and fill-inodes of the attack catalogue.
# not: wall-abi2 (what is full, hung, stored or formatted meets no Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
mkdir -p /var/lib/ductile && mount -t tmpfs -o size=6M,nr_inodes=400,mode=0711 full /var/lib/ductile || exit 1
trap 'stop_gateway >/dev/null 2>&1; umount -l /var/lib/ductile' EXIT
lab 3 || exit 1
STATE=/var/lib/ductile/accounts/default
check "the gateway starts" start_gateway
room() { rm -rf "$STATE/filler"; }
state_of() { job "$1" | json 'd["state"]'; }
gateways() { echo "$(warden_pid) $(bus_pid)"; }
before=$(gateways)
count() { ledger 'select count(*) from job'; }
refused_work() { # until the ledger is full for good: what is taken is a row, what is not is refused with the cause
    local n=0 rows out
    for _ in $(seq 200); do
        rows=$(count)
        out=$(ductile job enqueue --json unruly handle --payload "{\"mode\": \"calm\", \"pad\": \"$(head -c 30000 /dev/zero | tr '\0' x)\"}" 2>&1) || break
        n=$((n + 1))
    done
    echo "after $n more: $out"
    grep -q 'the ledger does not take new work: database or disk is full' <<<"$out" && [ "$(count)" = "$rows" ]
}
all_there() { # every job that was ever acknowledged has ended, and well
    for _ in $(seq 200); do [ "$(ledger "select count(*) from job where state in ('queued','running')")" = 0 ] && break; sleep 0.1; done
    ledger 'select state, count(*), max(reason) from job group by state'
    [ "$(ledger "select count(*) from job where state<>'succeeded'")" = 0 ] && [ "$(count)" = "$(ledger 'select max(id) from job')" ]
}
filling() { # filling WHAT: a job fills it, and one that began before it ends meanwhile
    CALM=$(enqueue unruly_retried handle '{"mode": "calm", "seconds": 1}')
    FILL=$(enqueue unruly_retried handle "{\"mode\": \"fill\", \"what\": \"$1\"}")
    sleep 2.5
    df -k --output=avail,iavail /var/lib/ductile
    [ "$(df --output="$2" /var/lib/ductile | tail -1 | tr -d " ")" = 0 ]
}
check "a plugin fills the disk, to the last byte" filling bytes avail
check "new work is refused with the cause, and nothing of it is kept" refused_work
told() { ductile status | grep 'ledger  *CANNOT BE WRITTEN: database or disk is full' && [ "$(gateway_log | grep -c 'no work begins until it can')" -ge 1 ]; }
check "status and log say so" told
check "the gateway is still the same two processes" test "$(gateways)" = "$before"
room
check "with room again it goes on by itself, and every acknowledged job has succeeded" all_there
again() { ductile status | grep 'ledger' && return 1; gateway_log | grep -q 'the ledger can be written again'; }
check "status and log say that too" again
check "a plugin takes every inode" filling inodes iavail
check "no acknowledged job is lost by that" all_there
room

# A stop while it is full: what could not be written is run again by the next start.
stopped_full() {
    filling bytes avail || return 1
    refused_work || return 1
    stop_gateway || return 1
    gateway_log | grep 'to the next start these attempts are lost' || return 1
    room
    start_gateway && sleep 2 && room && all_there && ledger "select reason from job_transition where job=$FILL or job=$CALM" | grep 'recovered'
}
check "stopped while it is full: the next start runs again what could not be written" stopped_full
check "a stop is clean" stop_gateway
