#!/bin/bash
# What nobody with a key does to the API over TCP: stops, memory, places, time; and a token that ends while its
# request comes.
# not: host, wall-abi2 (the booted tree has no age; nothing in it meets Landlock)
# waits
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
lab 2 || exit 1
PORT=18780
config() { # config KEY: of the second webhook
    add_config strangers <<Y
api:
  listen: "127.0.0.1:$PORT"
  tokens:
  - {name: ci, secret_ref: ci-token, scopes: ["*"]}
  - {name: brief, secret_ref: brief-token, scopes: ["plugin:rw"]}
webhooks:
- {name: forge, secret_ref: forge-key, plugin: unruly}
- {name: twin, secret_ref: $1, plugin: unruly}
Y
}
config forge-key
check "two webhooks with one key: refused" refuses 78 CONF-LOAD-01 ductile-install -q plan
twin() {
    ductile-install -q plan >"$WORK/plan" 2>&1
    grep 'strangers.yaml:8:3: webhooks\[1\].*has the key of webhook "forge"' "$WORK/plan" || { cat "$WORK/plan"; return 1; }
}
check "which names the line and the other" twin
config twin-key
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
put() { printf %s "$2" | ductile vault secret set "$1" >/dev/null 2>&1 && ductile vault grant "$1" core >/dev/null 2>&1; }
CI=ci-0123456789abcdef0123456789abcdef BRIEF=brief-0123456789abcdef0123456789abcdef
put ci-token $CI && put brief-token $BRIEF && put forge-key forge-0123456789abcdef0123456789abcdef || exit 1
check "the gateway starts" start_gateway
strangers() { timeout 100 python3 "$SRC/tests/wall/strangers.py" $PORT "$@"; }
knock() { python3 "$SRC/tests/wall/knock.py" $PORT "$@"; }
gets() { # gets STATUS TOKEN METHOD PATH
    local want=$1 token=$2
    shift 2
    knock "$@" ${token:+"Authorization: Bearer $token"} >"$WORK/answer"
    [ "$(head -1 "$WORK/answer")" = "$want" ] || { echo "wanted $want"; head -c 1500 "$WORK/answer"; return 1; }
}
until_said() { for _ in $(seq 200); do grep -q "$1" "$2" && return 0; sleep 0.05; done; return 1; }

# ---- memory -----------------------------------------------------------------------------------------------------------
rss() { awk '/^VmRSS/ {print $2}' "/proc/$(bus_pid)/status"; }
hoard() {
    local before after
    before=$(rss)
    exec 7> >(exec python3 "$SRC/tests/wall/strangers.py" $PORT hoard /healthz 8388608 >"$WORK/hoard")
    until_said held "$WORK/hoard"
    after=$(rss)
    exec 7>&-
    echo "$before kB, then $after kB" | tee "$WORK/rss"
    [ -n "$after" ] && [ $((after - before)) -lt 20000 ]
}
check "bodies of strangers fill no memory" hoard
figure "the bus with 48 bodies of 8 MiB on their way: $(cat "$WORK/rss")"
unread() { head -c 7000000 /dev/zero | gets 413 "" GET /healthz; }
check "one that says its length: 413, unread" unread
endless() { local n; n=$(strangers endless "$@"); echo "$n bytes"; [ "$n" -gt 0 ] && [ "$n" -lt $((40 << 20)) ]; }
check "one in chunks without end is hung up" endless /healthz
check "of a token's holder too" endless /jobs "Authorization: Bearer $CI"
check "healthz answers as before" gets 200 '' GET /healthz </dev/null

# ---- places and time --------------------------------------------------------------------------------------------------
strangers trickle 48 >"$WORK/trickle" &
TRICKLE=$!
strangers idle /jobs $CI 20 >"$WORK/idle" &
IDLE=$!
until_said held "$WORK/trickle"
check "48 that send a byte a second: a token is answered" gets 200 $CI GET /jobs </dev/null
check "and so is the next stranger" gets 200 '' GET /healthz </dev/null
wait $TRICKLE
trickled() { tail -1 "$WORK/trickle"; tail -1 "$WORK/trickle" | tr ' ' '\n' | awk '{n++; if ($1 > 25) late++; if ($1 >= 10) own++} END {exit !(n == 48 && !late && own > 30)}'; }
check "each is hung up after its 15 s, or when it made room" trickled
wait $IDLE
check "a token's connection outlasts 20 s between two requests" grep -x '200 200' "$WORK/idle"

# ---- a token that ends while its request comes ------------------------------------------------------------------------
jobs() { ledger "select count(*) from job"; }
# late STATUS TOKEN COMMAND...: the headers come before COMMAND, the body after
late() {
    local want=$1 token=$2 r=1
    shift 2
    rm -f "$WORK/go"; mkfifo "$WORK/go"
    strangers late /plugin/unruly/handle "$token" '{"payload": {"mode": "calm", "seconds": 0}}' <"$WORK/go" >"$WORK/late" &
    local pid=$!
    exec 7>"$WORK/go"
    until_said waits "$WORK/late" && sleep 0.2 && "$@"
    echo >&7; exec 7>&-
    wait $pid
    [ "$(tail -1 "$WORK/late")" = "$want" ] || { cat "$WORK/late"; return 1; }
}
runs() { late 202 $BRIEF sleep 0.1 && [ "$(jobs)" = 1 ]; }
check "a body that comes late runs its job" runs
other() { printf other-0123456789abcdef0123456789abcdef | ductile vault secret set other >/dev/null && sleep 1; }
unrelated() { late 202 $BRIEF other && [ "$(jobs)" = 2 ]; }
check "and does though the vault changed meanwhile" unrelated
ends() { edit_vault 'import time; d["secrets"]["brief-token"]["expires_ms"] = int(time.time() * 1000) + 2000'; sleep 0.8; }
expired() { ends && late 401 $BRIEF sleep 2 && [ "$(jobs)" = 2 ]; }
check "the token expired meanwhile: 401, and no job" expired
forever() { edit_vault 'd["secrets"]["brief-token"].pop("expires_ms")'; for _ in $(seq 100); do gets 200 $BRIEF GET /plugins </dev/null >/dev/null && return 0; sleep 0.05; done; return 1; }
revoke() { ductile vault secret revoke brief-token >/dev/null; for _ in $(seq 100); do gets 401 $BRIEF GET /plugins </dev/null >/dev/null && return 0; sleep 0.05; done; return 1; }
revoked() { forever && late 401 $BRIEF revoke && [ "$(jobs)" = 2 ]; }
check "it was revoked meanwhile: 401, and no job" revoked

# ---- stops ------------------------------------------------------------------------------------------------------------
for i in 1 2 3; do
    strangers pipeline 4 &
    PIPELINE=$!
    sleep 1
    check "a stop is clean while a stranger's webhooks come: $i" stop_gateway
    wait $PIPELINE
    check "the gateway starts again: $i" start_gateway
done
check "a stop is clean" stop_gateway
