#!/bin/bash
# Webhooks: whoever has the key starts a job, once for each signature; the bus asks the warden whether a signature is
# right. Each refusal is an attempt of a stranger.
# not: host, wall-abi2 (the booted tree has no age; nothing in it meets Landlock)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
lab 2 || exit 1
PORT=18780
add_config hooks <<Y
api:
  listen: "127.0.0.1:$PORT"
  tokens:
  - {name: ci, secret_ref: ci-token, scopes: ["*"]}
plugins:
  unruly_off: {uses: unruly, run_as: default, enabled: false}
pipelines:
- {name: arrivals, on: nothing.emits.this, steps: [{uses: unruly}, {uses: unruly}]}
webhooks:
- {name: forge, secret_ref: forge-key, plugin: unruly}
- {name: brief, path: deep/er, secret_ref: brief-key, plugin: unruly, window: 2s}
- {name: flow, secret_ref: flow-key, pipeline: arrivals}
- {name: keyless, secret_ref: no-such-key, plugin: unruly}
- {name: weak, secret_ref: weak-key, plugin: unruly}
- {name: absent, secret_ref: absent-key, plugin: nobody}
- {name: disabled, secret_ref: disabled-key, plugin: unruly_off}
- {name: polling, secret_ref: polling-key, plugin: bomb}
Y
ductile plugin add "$SRC/tests/wall/plugins/bomb" >/dev/null && ductile plugin lock bomb >/dev/null || exit 1
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
put() { printf %s "$2" | ductile vault secret set "$1" >/dev/null 2>&1 && ductile vault grant "$1" core >/dev/null 2>&1; }
FORGE=forge-0123456789abcdef0123456789abcdef BRIEF=brief-0123456789abcdef0123456789abcdef FLOW=flow-0123456789abcdef0123456789abcdef ODD=0123456789abcdef0123456789abcdef WEAK=weak
put ci-token ci-0123456789abcdef0123456789abcdef && put forge-key $FORGE && put brief-key $BRIEF && put flow-key $FLOW && put weak-key $WEAK && put absent-key absent-$ODD && put disabled-key disabled-$ODD && put polling-key polling-$ODD || exit 1
found() { ductile vault check >"$WORK/check" 2>&1; grep -E "^not-valid +$1 .*$2" "$WORK/check" || { cat "$WORK/check"; return 1; }; }
check "check names a webhook without its key" found keyless 'no-such-key is not granted to core'
check "check names one whose key is too short" found weak 'weak-key has fewer than 32'
check "the gateway starts" start_gateway
before="$(warden_pid) $(bus_pid)"
logged() { gateway_log | grep "$1"; }
check "the log names a webhook without its key" logged 'webhook keyless is not valid: its secret no-such-key'
memfds() { find "/proc/$(warden_pid)/fd" -lname '*memfd*' | wc -l; }
at_first=$(memfds)

mac() { openssl dgst -sha256 -hmac "$1" -r | cut -d' ' -f1; }
body() { printf '{"mode": "calm", "seconds": 0, "n": "%s"}' "$1"; }
knock() { python3 "$SRC/tests/wall/knock.py" $PORT "$@"; }
# post STATUS PATH BODY HEADER...
post() {
    local want=$1 path=$2 body=$3
    shift 3
    printf %s "$body" | knock POST "/hook/$path" "$@" >"$WORK/answer"
    [ "$(head -1 "$WORK/answer")" = "$want" ] || { echo "wanted $want"; head -c 1500 "$WORK/answer"; return 1; }
}
signed() { # signed STATUS PATH KEY BODY
    post "$1" "$2" "$4" "X-Hub-Signature-256: sha256=$(printf %s "$4" | mac "$3")"
}
jobs() { ledger "select count(*) from job"; }
check "no signature: 401" post 401 forge "$(body 0)"
cp "$WORK/answer" "$WORK/refused"
says() { grep -q "$1" "$WORK/refused" || { cat "$WORK/refused"; return 1; }; }
check "it says what is missing" says 'X-Hub-Signature-256: sha256=HEX'
# same PATH BODY HEADER...: refused as if nothing had come
same() { post 401 "$@" && diff "$WORK/answer" "$WORK/refused"; }
B=$(body 1)
RIGHT=$(printf %s "$B" | mac $FORGE)
check "a wrong signature: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=$(printf %s "$B" | mac wrong)"
check "zeros: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=$(printf '%064d' 0)"
check "the last digit is wrong: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=${RIGHT%?}$([ "${RIGHT: -1}" = 0 ] && echo 1 || echo 0)"
check "a digit is missing: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=${RIGHT%?}"
check "a digit too many: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=${RIGHT}0"
check "no hex: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=$(printf '%064d' 0 | tr 0 z)"
check "an empty one: the same answer" same forge "$B" "X-Hub-Signature-256:"
check "without its scheme: the same answer" same forge "$B" "X-Hub-Signature-256: $RIGHT"
check "sha1: the same answer" same forge "$B" "X-Hub-Signature: sha1=$(printf %s "$B" | openssl dgst -sha1 -hmac $FORGE -r | cut -d' ' -f1)"
check "two, the right one first: the same answer" same forge "$B" "X-Hub-Signature-256: sha256=$RIGHT" "X-Hub-Signature-256: sha256=$RIGHT"
check "another body under the same signature: the same answer" same forge "$(body 2)" "X-Hub-Signature-256: sha256=$RIGHT"
check "a byte more: the same answer" same forge "$B " "X-Hub-Signature-256: sha256=$RIGHT"
check "another webhook's key: the same answer" same flow "$B" "X-Hub-Signature-256: sha256=$RIGHT"
check "a path that is nowhere: the same answer" same nowhere "$B" "X-Hub-Signature-256: sha256=$RIGHT"
check "a path below: the same answer" same forge/x "$B" "X-Hub-Signature-256: sha256=$RIGHT"
check "a webhook without a key, signed with an empty one: the same answer" same keyless "$B" "X-Hub-Signature-256: sha256=$(python3 -c 'import hmac, sys; print(hmac.new(b"", sys.argv[1].encode(), "sha256").hexdigest())' "$B")"
check "a key that is too short, though right: the same answer" same weak "$B" "X-Hub-Signature-256: sha256=$(printf %s "$B" | mac $WEAK)"
check "an API token is no signature: the same answer" same forge "$B" "Authorization: Bearer ci-0123456789abcdef0123456789abcdef"
large() { python3 -c 'print("{\"x\": \"" + "a" * (1 << 20) + "\"}")' | { local b; b=$(cat); signed 413 forge $FORGE "$b"; }; }
check "a body over 1 MiB: 413, and not read" large
chunked() { # without a length: read to its end, and not kept
    python3 -c 'import sys
for _ in range(40): sys.stdout.write("10000\r\n" + "a" * 65536 + "\r\n")
sys.stdout.write("0\r\n\r\n")' | knock POST /hook/forge "Transfer-Encoding: chunked" "X-Hub-Signature-256: sha256=$RIGHT" >"$WORK/answer"
    [ "$(head -1 "$WORK/answer")" = 413 ] || { head -c 600 "$WORK/answer"; return 1; }
}
check "in chunks over 1 MiB: 413" chunked
check "signed, and no JSON: 400" signed 400 forge $FORGE 'mode=calm'
check "signed, and no object: 400" signed 400 forge $FORGE '[1]'
check "signed, and nested too deep: 400" signed 400 forge $FORGE "{\"a\": $(printf '[%.0s' $(seq 200))$(printf ']%.0s' $(seq 200))}"
check "signed, and empty: 400" signed 400 forge $FORGE ''
check "by GET: 401 over TCP" bash -c "python3 '$SRC/tests/wall/knock.py' $PORT GET /hook/forge </dev/null | head -1 | grep -x 401"
# told PATH REASON: the sender hears why, and nothing is queued that can only fail
told() { signed 409 "$1" "$1-$ODD" "$B" && { grep -F "$2" "$WORK/answer" || { cat "$WORK/answer"; return 1; }; }; }
check "signed, and its plugin is not there: 409 says so" told absent 'there is no locked plugin \"nobody\"'
check "signed, and its plugin is disabled: 409 says so" told disabled 'plugin \"unruly_off\" is disabled'
check "signed, and its plugin handles nothing: 409 says so" told polling 'plugin \"bomb\" has no command \"handle\"'
none() { [ "$(jobs)" = 0 ] && [ "$(ledger "select count(*) from event")" = 0 ]; }
check "nothing came of all that" none
zeros="X-Hub-Signature-256: sha256=$(printf '%064d' 0)"
read -r t_wrong t_nowhere t_keyless <<<"$(python3 "$SRC/tests/wall/knock.py" --time $PORT 300 POST /hook/forge "$zeros" /hook/nowhere "$zeros" /hook/keyless "$zeros")"
figure "median of 300, in us: a wrong signature $t_wrong, a path that is nowhere $t_nowhere, a webhook without a key $t_keyless"
check "each was measured" test -n "$t_keyless"

check "signed: taken" signed 202 forge $FORGE "$B"
started() { [ "$(ledger "select plugin || ' ' || command || ' ' || submitted_by from job order by id desc limit 1")" = 'unruly handle webhook:forge' ]; }
check "its plugin handles the body, and the job is marked as a stranger's" started
event() { [ "$(ledger "select type || ' ' || source_plugin || ' ' || json_extract(payload, '\$.n') from event order by id desc limit 1")" = 'ductile.webhook webhook:forge 1' ]; }
check "what came is an event" event
ended() { local j; j=$(ledger "select max(id) from job"); await "$j"; [ "$(job "$j" | json 'd["state"]')" = succeeded ]; }
check "and the job ends well" ended
check "again: 409" signed 409 forge $FORGE "$B"
check "again in capitals: 409" post 409 forge "$B" "X-Hub-Signature-256: sha256=$(tr a-f A-F <<<"$RIGHT")"
once() { [ "$(jobs)" = 1 ]; }
check "and only one job came of it" once
check "another body of the same sender is taken" signed 202 forge $FORGE "$(body 3)"
brief() { signed 202 deep/er $BRIEF "$(body 4)" && signed 409 deep/er $BRIEF "$(body 4)" && sleep 2.2 && signed 202 deep/er $BRIEF "$(body 4)"; }
check "beyond its window it counts again" brief
flow() {
    signed 202 flow $FLOW "$(body 5)" || return 1
    local run; run=$(ledger "select max(id) from pipeline_run")
    for _ in $(seq 100); do [ "$(ledger "select state from pipeline_run where id=$run")" = succeeded ] && break; sleep 0.05; done
    ledger "select submitted_by, state from job where pipeline_run=$run order by id"
    [ "$(ledger "select submitted_by from job where pipeline_run=$run order by id" | tr '\n' ' ')" = 'pipeline:arrivals/step_1 pipeline:arrivals/step_2 ' ] && [ "$(ledger "select state from pipeline_run where id=$run")" = succeeded ]
}
check "a pipeline: its first step gets the body, and the rest follows" flow
by_socket() { PORT=/run/ductile/api.sock signed 401 flow wrong "$(body 6)" && PORT=/run/ductile/api.sock signed 202 flow $FLOW "$(body 6)"; }
check "on the unix socket it takes the signature too" by_socket

# ---- what the shell changes holds for the next request ----------------------------------------------------------------
NEXT=forge-fedcba9876543210fedcba9876543210
roll() { printf %s $NEXT | ductile vault secret roll forge-key >/dev/null && signed 202 forge $NEXT "$(body 7)" && signed 401 forge $FORGE "$(body 8)"; }
check "rolled: the new key signs, the old one does not" roll
keep() { printf %s $FORGE | ductile vault secret roll forge-key --keep-previous 1h >/dev/null && signed 202 forge $FORGE "$(body 9)" && signed 202 forge $NEXT "$(body 10)"; }
check "rolled and kept for a while: both sign" keep
expire() { edit_vault 'd["secrets"]["forge-key"]["expires_ms"] = 1' && signed 401 forge $FORGE "$(body 11)"; edit_vault 'd["secrets"]["forge-key"].pop("expires_ms")' && signed 202 forge $FORGE "$(body 11)"; }
check "expired: it signs nothing; without its end it does again" expire
gone() { mv $VAULT $VAULT.away && signed 401 forge $FORGE "$(body 12)"; mv $VAULT.away $VAULT && signed 202 forge $FORGE "$(body 12)"; }
check "the vault is gone: no key signs; back, it does" gone
# bare PATH N: that many requests of a stranger, each with 1 MiB; prints the CPU time of the warden for one, in us
bare() {
    local a b
    a=$(cut -d' ' -f1 "/proc/$(warden_pid)/schedstat")
    for _ in $(seq "$2"); do head -c 1048576 /dev/zero | tr '\0' a | knock POST "/hook/$1" "$zeros" >/dev/null; done
    b=$(cut -d' ' -f1 "/proc/$(warden_pid)/schedstat")
    echo $(((b - a) / 1000 / $2))
}
rolled=$(bare forge 12) nowhere=$(bare nowhere 12) unrolled=$(bare flow 12)
figure "CPU of the warden for a no about 1 MiB, in us: a key that was rolled $rolled, nowhere $nowhere, not rolled $unrolled"
alike() { [ $((rolled * 4)) -lt $((nowhere * 6)) ] && [ $((rolled * 4)) -lt $((unrolled * 6)) ] && [ "$nowhere" -gt 500 ]; }
check "while an old key is kept a no costs what it costs elsewhere" alike
# opened N: how often the vault is read while a stranger sends N requests, by the bytes that the warden reads
opened() {
    local a b
    a=$(awk '/^rchar/ {print $2}' "/proc/$(warden_pid)/io")
    python3 "$SRC/tests/wall/knock.py" --time $PORT "$1" POST /hook/forge "$zeros" >/dev/null
    b=$(awk '/^rchar/ {print $2}' "/proc/$(warden_pid)/io")
    echo $(((b - a) / $(stat -c %s $VAULT)))
}
last_byte() { python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(-1, 2); b = f.read()[0]; f.seek(-1, 2); f.write(bytes([b ^ 1]))' $VAULT; }
spoilt() {
    last_byte; sleep 1
    local began n took
    began=$(date +%s%N)
    n=$(opened 400); took=$((($(date +%s%N) - began) / 1000000000))
    echo "opened $n times in $took s"; [ "$n" -le $((took + 5)) ]
}
check "a vault that cannot be opened: a stranger's 400 requests have it tried once a second at most" spoilt
unspoilt() { signed 401 forge $FORGE "$(body 20)" && last_byte && signed 202 forge $FORGE "$(body 20)"; }
check "mended: it signs at once" unspoilt
key_away() { mv $KEY $KEY.away; touch $VAULT; signed 401 forge $FORGE "$(body 21)"; local r=$?; mv $KEY.away $KEY; sleep 1.1; signed 202 forge $FORGE "$(body 21)" && return $r; }
check "the same file, and secret zero was away: it signs again within a second" key_away
revoke() { ductile vault secret revoke forge-key >/dev/null && signed 401 forge $FORGE "$(body 13)"; }
check "revoked: it signs nothing" revoke
check "all that without a restart" test "$before" = "$(warden_pid) $(bus_pid)"
no_leak() { local now; now=$(memfds); echo "$at_first, then $now"; [ "$now" = "$at_first" ]; }
check "no body is left in the warden" no_leak
seen() { signed 202 flow $FLOW "$(body 14)" && stop_gateway && start_gateway && signed 409 flow $FLOW "$(body 14)"; }
check "a restart in between: what was taken before is not taken again" seen
check "a stop is clean" stop_gateway
