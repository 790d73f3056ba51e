#!/bin/bash
# The API over TCP: who holds a token, and for what. Values are in the vault, hashes in the bus; a token that was rolled,
# revoked, taken back, or cannot be read is no token any more, without a restart. Each refusal is an attempt.
# not: host, wall-abi2 (the booted tree has no age; nothing in it meets Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
lab 2 || exit 1
PORT=18780
tokens() { # tokens LISTEN [OPERATORS]
    add_config tokens <<Y
api:
  listen: "$1"
  operators: ${2:-rw}
  tokens:
  - {name: ci, secret_ref: ci-token, scopes: ["plugin:rw"]}
  - {name: eyes, secret_ref: eyes-token, scopes: ["jobs:ro", "plugin:ro"]}
  - {name: all, secret_ref: all-token, scopes: ["*"]}
  - {name: late, secret_ref: late-token, scopes: ["jobs:ro"]}
  - {name: weak, secret_ref: weak-token, scopes: ["*"]}
Y
    ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; return 1; }
}
tokens 127.0.0.1:$PORT || exit 1
# set_token NAME VALUE [AS]
set_token() { printf %s "$2" | ductile vault secret set "$1" >/dev/null 2>&1 && ductile vault grant "$1" core --as "${3:-$1}" >>"$WORK/granted" 2>&1; }
CI=ci-0123456789abcdef0123456789abcdef EYES=eyes-0123456789abcdef0123456789abcdef ALL=all-0123456789abcdef0123456789abcdef WEAK=weak-0123456789abcdef
set_token ci-token $CI && set_token eyes-token $EYES && set_token all-token $ALL && set_token feeble $WEAK weak-token || exit 1
says() { grep -q "$1" "$2" || { cat "$2"; return 1; }; }
check "the first grant to core makes that principal, and says so" says 'principal core was missing and is made' "$WORK/granted"
core_kind() { ductile vault principal show core --json | json 'd["kind"]' | grep -x core; }
check "it is of kind core" core_kind
check "no other principal is of that kind" refuses 65 VAULT-NAME-01 ductile vault principal add other --kind core
check "and none of that name is a plugin's" refuses 65 VAULT-NAME-01 ductile vault principal add core
named() { # what check finds of a token
    ductile vault check >"$WORK/check" 2>&1
    grep -E "^not-valid +$1 .*$2" "$WORK/check" || { cat "$WORK/check"; return 1; }
}
check "check names a token without its secret" named late 'late-token is not granted to core: ductile vault grant late-token core'
check "check names a token that is too short" named weak 'feeble, granted as weak-token, has fewer than 32 .*: ductile vault secret roll feeble --auto'
check "and none that is valid" not named ci .
form() { ductile vault check --json >"$WORK/json" 2>/dev/null; "$SRC/tests/lib/schema.py" "$SRC/share/schema/vault.schema.json" check <"$WORK/json"; }
check "check's JSON is what the schema says" form
check "the gateway starts" start_gateway
before="$(warden_pid) $(bus_pid)"
logged() { gateway_log | grep "$1"; }
check "the log names a token without its secret" logged 'token late is not valid: its secret late-token is not granted to core'
check "the log names a token that is too short" logged 'token weak is not valid: its secret feeble, granted as weak-token, has fewer than 32'

knock() { python3 "$SRC/tests/wall/knock.py" $PORT "$@"; }
# gets STATUS TOKEN METHOD PATH: with that token, and no body unless on standard input
gets() {
    local want=$1 token=$2
    shift 2
    knock "$@" ${token:+"Authorization: Bearer $token"} >"$WORK/answer"
    [ "$(head -1 "$WORK/answer")" = "$want" ] || { echo "wanted $want"; head -c 2000 "$WORK/answer"; return 1; }
}
# quickly STATUS TOKEN: within 5 s (what the shell did reaches the bus by inotify)
quickly() { for _ in $(seq 100); do gets "$1" "$2" GET /jobs </dev/null >/dev/null && return 0; sleep 0.05; done; gets "$1" "$2" GET /jobs </dev/null; }
run='{"payload": {"mode": "calm", "seconds": 0}}'

# ---- who --------------------------------------------------------------------------------------------------------------
check "healthz needs no token" gets 200 '' GET /healthz </dev/null
health() { gets 200 '' GET /healthz </dev/null && ! grep -E '/var|/etc|/opt|"version"' "$WORK/answer"; }
check "and names no path and no version" health
check "a token opens what its scope says" gets 200 $EYES GET /jobs </dev/null
check "no token: 401" gets 401 '' GET /jobs </dev/null
cp "$WORK/answer" "$WORK/refused"
as_problem() { says 'Content-Type: application/problem+json' "$WORK/refused" && says 'WWW-Authenticate: Bearer' "$WORK/refused" && says '"status":401' "$WORK/refused"; }
check "it is a problem as RFC 9457 has it, and names the scheme" as_problem
same() { # refused with HEADER...: as if there were none
    knock GET /jobs "$@" </dev/null >"$WORK/answer"
    diff "$WORK/answer" "$WORK/refused"
}
check "a wrong token: the same answer" same "Authorization: Bearer wrong-0123456789abcdef0123456789abcdef"
check "a token cut by a byte: the same answer" same "Authorization: Bearer ${EYES%?}"
check "a token with a byte more: the same answer" same "Authorization: Bearer ${EYES}x"
check "an empty one: the same answer" same "Authorization: Bearer "
check "an empty header: the same answer" same "Authorization:"
check "the value without its scheme: the same answer" same "Authorization: $EYES"
check "another scheme: the same answer" same "Authorization: Basic $(printf 'eyes:%s' $EYES | base64 -w0)"
check "two of them, the right one first: the same answer" same "Authorization: Bearer $EYES" "Authorization: Bearer wrong"
check "two of them, the right one last: the same answer" same "Authorization: Bearer wrong" "authorization: Bearer $EYES"
check "two in one: the same answer" same "Authorization: Bearer $EYES, Bearer $EYES"
check "ten thousand bytes: the same answer" same "Authorization: Bearer $(head -c 10000 /dev/zero | tr '\0' a)"
check "in the query instead: the same answer" gets 401 '' GET "/jobs?access_token=$EYES" </dev/null
check "the token that is too short opens nothing" gets 401 $WEAK GET /jobs </dev/null
check "what is nowhere is 401 too, without a token" gets 401 '' GET /nowhere </dev/null
check "and 404 with one" gets 404 $EYES GET /nowhere </dev/null
unread() { # a body of 7 MB from nobody: refused before it is read
    head -c 7000000 /dev/zero | gets 401 '' POST /plugin/unruly/handle
}
check "the body of a stranger is not waited for" unread
check "the unix socket needs no token" ductile job list
stranger() { python3 - <<'P'
import os, socket
os.setgroups([]); os.setgid(1001); os.setuid(1001)
s = socket.socket(socket.AF_UNIX); s.connect("/run/ductile/api.sock")
P
}
check "and still takes no stranger" not stranger

# ---- what for ---------------------------------------------------------------------------------------------------------
check "jobs:ro: may not run a plugin" gets 403 $EYES POST /plugin/unruly/handle <<<"$run"
lacks() { says '"detail":"token:eyes lacks the scope plugin:rw"' "$WORK/answer"; }
check "and is told which scope that takes" lacks
none_ran() { [ "$(ledger "select count(*) from job")" = 0 ]; }
check "nothing was queued by what was refused" none_ran
check "plugin:rw: may run a plugin" gets 202 $CI POST /plugin/unruly/handle <<<"$run"
marked() { [ "$(ledger "select submitted_by from job order by id desc limit 1")" = token:ci ]; }
check "its job is marked with the token's name" marked
check "plugin:rw: may read plugins too" gets 200 $CI GET /plugins </dev/null
check "plugin:rw: may not read jobs" gets 403 $CI GET /jobs </dev/null
check "nor one job" gets 403 $CI GET /job/1 </dev/null
check "jobs:ro plugin:ro: may not see the posture" gets 403 $EYES GET /posture </dev/null
check "nor the audit rows" gets 403 $EYES GET /ledger/audit </dev/null
check "the star may see both" gets 200 $ALL GET /posture </dev/null
check "and the audit rows" gets 200 $ALL GET /ledger/audit </dev/null
check "and run a plugin" gets 202 $ALL POST /plugin/unruly/handle <<<"$run"

# ---- what the shell changes holds at once -----------------------------------------------------------------------------
EYES2=eyes-fedcba9876543210fedcba9876543210
roll() { printf %s $EYES2 | ductile vault secret roll eyes-token >/dev/null && quickly 200 $EYES2 && gets 401 $EYES GET /jobs </dev/null; }
check "rolled: the new value opens, the old one does not" roll
EYES3=eyes-00000000000000000000000000000000
keep() { printf %s $EYES3 | ductile vault secret roll eyes-token --keep-previous 3s >/dev/null && quickly 200 $EYES3 && gets 200 $EYES2 GET /jobs </dev/null; }
check "rolled and kept for a while: both open" keep
over() { sleep 3; gets 401 $EYES2 GET /jobs </dev/null && gets 200 $EYES3 GET /jobs </dev/null; }
check "and when the while is over only the new one" over
expire() { edit_vault 'import time; d["secrets"]["eyes-token"]["expires_ms"] = int(time.time() * 1000) + 2500' && quickly 200 $EYES3 && sleep 3 && gets 401 $EYES3 GET /jobs </dev/null; }
check "expired, while nothing else changes: it opens nothing" expire
forever() { edit_vault 'd["secrets"]["eyes-token"].pop("expires_ms")' && quickly 200 $EYES3; }
check "without its end it opens again" forever
taken() { ductile vault ungrant eyes-token core >/dev/null && quickly 401 $EYES3 && logged 'token eyes is not valid: its secret eyes-token is not granted to core'; }
check "taken from core: it opens nothing, and the log says why" taken
given() { ductile vault grant eyes-token core >/dev/null && quickly 200 $EYES3 && logged 'token eyes is valid again'; }
check "granted again: it opens again" given
gone() { mv $VAULT $VAULT.away && quickly 401 $EYES3 && gets 401 $ALL GET /jobs </dev/null; }
check "the vault is gone: no token opens anything" gone
back() { mv $VAULT.away $VAULT && quickly 200 $EYES3; }
check "the same vault is back: they do again" back
spoilt() { cp -p $VAULT "$WORK/kept"; truncate -s 300 $VAULT; quickly 401 $EYES3; }
check "half of the vault: no token opens anything" spoilt
check "while the unix socket goes on" ductile job list
whole() { cp -p "$WORK/kept" $VAULT.x && mv $VAULT.x $VAULT && quickly 200 $EYES3; }
check "with the whole one they do again" whole
usurped() { edit_vault 'd["principals"]["core"]["kind"] = "plugin"' && quickly 401 $EYES3; edit_vault 'd["principals"]["core"]["kind"] = "core"' && quickly 200 $EYES3; }
check "a principal core that is a plugin's: no token opens anything" usurped
revoke() { ductile vault secret revoke eyes-token >/dev/null && quickly 401 $EYES3 && logged 'eyes-token is revoked: ductile vault secret remove eyes-token, then set and grant it again'; }
check "revoked: it opens nothing" revoke
again() { ductile vault secret remove eyes-token >/dev/null && set_token eyes-token $EYES && quickly 200 $EYES; }
check "removed, set and granted as the log says: it opens" again
nobody() { ductile vault principal revoke core >/dev/null && quickly 401 $EYES && logged 'eyes-token is withheld, principal core is revoked: ductile vault principal purge core, then grant again'; }
check "principal core is revoked: no token opens anything, and the log says why" nobody
anew() { ductile vault principal purge core >/dev/null && for t in ci eyes all; do ductile vault grant $t-token core || return 1; done && quickly 200 $EYES; }
check "purged and granted again as the log says: they do" anew
# The directory itself is exchanged, as when one restores it: a watch stays with what was moved away.
DIR=$(dirname $VAULT)
exchange() { mv $DIR $DIR.old && cp -a $DIR.old $DIR && rm -r $DIR.old; }
on_exchanged() { ductile vault secret roll eyes-token --auto >/dev/null && quickly 401 $EYES && quickly 200 "$(ductile vault reveal eyes-token --stdout)"; }
moved() { mv $DIR $DIR.old && cp -a $DIR.old $DIR && on_exchanged && rm -r $DIR.old; }
check "its directory is exchanged, and a token rolled: the old value opens nothing" moved
EYES=$(ductile vault reveal eyes-token --stdout)
once_more() { exchange && on_exchanged; }
check "exchanged once more, and the first removed: the same" once_more
EYES=$(ductile vault reveal eyes-token --stdout)
above() {
    mv /var/lib/ductile /var/lib/kept && mkdir -m 755 /var/lib/ductile && cp -a /var/lib/kept/vault /var/lib/ductile/ &&
        mkdir /var/lib/ductile/ledger && chown --reference=/var/lib/kept/ledger /var/lib/ductile/ledger && chmod --reference=/var/lib/kept/ledger /var/lib/ductile/ledger &&
        ductile vault secret revoke eyes-token >/dev/null && quickly 401 "$EYES"
    local r=$?
    cp -a $DIR/. /var/lib/kept/vault/ && rm -r /var/lib/ductile && mv /var/lib/kept /var/lib/ductile && return $r
}
check "the directory above is exchanged, which no watch tells, and a token revoked: it opens nothing" above
away() { mv $DIR $DIR.old && quickly 401 $ALL && sleep 1 && cp -a $DIR.old $DIR && quickly 200 $ALL && rm -r $DIR.old; }
check "it is away for a while: no token opens anything until it is back" away
watched() { [ "$(grep -c ^inotify /proc/$(warden_pid)/fdinfo/* | awk -F: '{n += $2} END {print n}')" -le 3 ] || { grep -h ^inotify /proc/$(warden_pid)/fdinfo/*; return 1; }; }
check "and no watch is left on what was moved away" watched
check "all that without a restart" test "$before" = "$(warden_pid) $(bus_pid)"

# ---- how long it takes, and how many there may be ------------------------------------------------------------------------
times=$(python3 "$SRC/tests/wall/knock.py" --time $PORT 400 GET /jobs '' /jobs "Authorization: Bearer wrong-0123456789abcdef0123456789abcdef" /jobs "Authorization: Bearer ${ALL%?}g" /jobs "Authorization: Bearer $WEAK")
read -r t_none t_wrong t_near t_weak <<<"$times"
figure "median of 400, in us: no token $t_none, a wrong one $t_wrong, one byte off $t_near, one that is not valid $t_weak"
check "each was measured" test -n "$t_weak"
crowd() {
    local ok=1
    exec 7> >(exec python3 "$SRC/tests/wall/knock.py" --hold $PORT 200 >"$WORK/held")
    for _ in $(seq 100); do grep -q held "$WORK/held" && break; sleep 0.05; done
    timeout 10 ductile job list >/dev/null && gets 200 $ALL GET /jobs </dev/null && ok=0
    exec 7>&-
    return $ok
}
check "two hundred connections of a stranger: the unix socket answers, and TCP does to a token" crowd
check "and TCP does, once they are gone" quickly 200 $ALL
check "which the log said" logged '48 connections over TCP: the oldest that showed no token makes room for each more'
check "a stop is clean" stop_gateway

# ---- where it may listen ------------------------------------------------------------------------------------------------
# listens_not REMEDY: the start is refused, and says what to do
listens_not() { refuses 78 RUN-LISTEN-01 as_service /usr/local/bin/ductile-run serve >"$WORK/out"; local r=$?; cat "$WORK/out"; [ $r = 0 ] && grep -q "do:  set api.listen to $1" "$WORK/out"; }
taken_port() {
    python3 -c 'import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(); print("bound", flush=True); time.sleep(60)' $PORT >"$WORK/bound" &
    local pid=$!
    for _ in $(seq 100); do grep -q bound "$WORK/bound" && break; sleep 0.05; done
    listens_not 'a free port of this host: ss -ltnp'; local r=$?
    kill $pid
    return $r
}
check "another program has the port: the start is refused" taken_port
wide() { tokens 0.0.0.0:$PORT && start_gateway && logged 'api.listen: 0.0.0.0:18780 can be reached from other hosts' && gets 200 $ALL GET /jobs </dev/null; }
check "beyond loopback: it listens, and warns" wide
check "a stop is clean, again" stop_gateway
low() { tokens 127.0.0.1:80 && echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start && listens_not 'a port above 1023'; }
check "a port below 1024: refused, with the reason" low
elsewhere() { tokens 192.0.2.1:$PORT && listens_not 'an address of this host: ip -br address'; }
check "an address of another host: refused, with the reason" elsewhere
reader() {
    tokens 127.0.0.1:$PORT ro && start_gateway || return 1
    operator() { setpriv --reuid=matt --regid=matt --groups "$(getent group ductile-operators | cut -d: -f3)" "$@"; }
    operator ductile job list >/dev/null && refuses 77 API-CALL-02 operator ductile job enqueue unruly poll >"$WORK/out"; local r=$?
    cat "$WORK/out"
    [ $r = 0 ] && grep -q 'do:  use sudo, or set api.operators: rw; not in the group: usermod -aG ductile-operators USER' "$WORK/out"
}
check "an operator who may only read is told what would let him do more" reader
check "a stop is clean, once more" stop_gateway
