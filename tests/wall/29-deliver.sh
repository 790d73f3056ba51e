#!/bin/bash
# What a spawn gets of the vault: a change made in the shell holds for the next one, what cannot be delivered refuses it
# with its reason, and nothing leaves before its row is in the ledger.
# not: host, wall-abi2 (29-book's twin there, 66-book.sh, delivers under the real unit)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
mkdir -p /var/lib/ductile && mount -t tmpfs -o size=12M,mode=0711 full /var/lib/ductile || exit 1
trap 'stop_gateway >/dev/null 2>&1; umount -l /var/lib/ductile' EXIT
lab 3 || exit 1
HOME_CODE=/home/matt/ductile/plugins/keeper
as matt cp -R "$SRC/tests/wall/plugins/keeper" /home/matt/ductile/plugins/ && as matt chmod -R go-w $HOME_CODE
add_config vault <<'Y'
plugins:
  keeper: {run_as: matt, retry: {max_attempts: 1}}
  needy: {uses: unruly, run_as: untrusted, requires_vault: true, retry: {max_attempts: 1}}
Y
ductile-install -q apply >/dev/null 2>&1
put() { printf %s "$2" | ductile vault secret set "$1" >/dev/null && ductile vault grant "$1" "$3" >/dev/null; }
put treasure the-treasure-itself keeper && put token first-value-of-it unruly && put side another-value unruly || exit 1
ductile plugin lock keeper >/dev/null
check "the gateway starts" start_gateway
gateways() { echo "$(warden_pid) $(bus_pid)"; }
before=$(gateways)

# ---- what the shell changes holds for the next spawn ---------------------------------------------------------------
digest() { printf %s "$1" | sha256sum | cut -c1-12; }
# got PLUGIN NAME: the digest of what it was given under that name
got() {
    run_job "$1" handle "{\"mode\": \"python\", \"print\": \"json.dumps({'status': 'ok', 'result': __import__('hashlib').sha256(request['secrets'].get('$2', '-').encode()).hexdigest()[:12]}).encode()\"}" | json 'd.get("result")'
}
names() { enqueue "$1" handle '{"mode": "echo"}' >"$WORK/j"; await "$(cat "$WORK/j")"; job "$(cat "$WORK/j")" | json 'd["attempts"][-1]["secrets"]'; }
is() { echo "$1, not $2"; [ "$1" = "$2" ]; }
check "a granted secret is delivered" is "$(got unruly token)" "$(digest first-value-of-it)"
grant() { put later a-later-value unruly && is "$(got unruly later)" "$(digest a-later-value)"; }
check "a secret set and granted while it runs: the next spawn has it" grant
roll() { printf second-value-of-it | ductile vault secret roll token --keep-previous 1h >/dev/null && is "$(got unruly token)" "$(digest second-value-of-it)" && is "$(got unruly token_previous)" "$(digest first-value-of-it)"; }
check "rolled while it runs: the next spawn has the new value, and the one before for as long as it is kept" roll
revoke() { ductile vault secret revoke later >/dev/null && is "$(names unruly)" "['side', 'token', 'token_previous']"; }
check "revoked while it runs: the next spawn is without" revoke
ungrant() { ductile vault ungrant side unruly >/dev/null && is "$(names unruly)" "['token', 'token_previous']"; }
check "taken from it while it runs: the next spawn is without" ungrant
by_others() { edit_vault 'd["secrets"]["token"]["value"] = "third-value-of-it"' && is "$(got unruly token)" "$(digest third-value-of-it)"; }
check "changed by other means than ours: the next spawn has it" by_others
rotate() { ductile vault rotate-key >/dev/null && is "$(got unruly token)" "$(digest third-value-of-it)"; }
check "a new secret zero while it runs: the next spawn is served" rotate
told() { ledger "select detail from audit where kind='secret.delivered' order by seq desc limit 1" | grep -F '"withheld":[{"name":"later","why":"revoked"}]'; }
check "and the row of the delivery says what was withheld, and why" told
warm() { gateway_log | grep -c 'the vault was read again: generation'; [ "$(gateway_log | grep -c 'the vault was read again')" -ge 3 ]; }
check "it is read again when it changes, not when it is needed" warm
check "all that without a restart" test "$(gateways)" = "$before"

# ---- refused, each with its reason ---------------------------------------------------------------------------------
# refused PLUGIN COMMAND WORD: terminal, no secret left, the reason in the job and in an audit row
refused() {
    local j
    j=$(enqueue "$1" "$2" '{}'); await "$j"
    job "$j" | json 'd["state"], d["reason"]'
    [ "$(job "$j" | json 'd["state"]')" = refused ] && job "$j" | json 'd["reason"]' | grep -q "$3" &&
        ledger "select kind, detail from audit where json_extract(detail,'\$.job')=$j" >"$WORK/rows"; cat "$WORK/rows"
    [ "$(wc -l <"$WORK/rows")" = 1 ] && grep -q '^secret.denied' "$WORK/rows" && grep -q "$3" "$WORK/rows"
}
# with NAME 'PYTHON' PLUGIN COMMAND WORD: refused with that change; delivered again without it
with() {
    cp -p $VAULT "$WORK/kept"
    local name=$1 change=$2 plugin=$3 command=$4 word=$5 back
    edit_vault "$change" || { echo "# the change itself failed"; return; }
    check "$name: refused, with its reason" refused "$plugin" "$command" "$word"
    back=$(generation)
    cp -p "$WORK/kept" $VAULT && edit_vault "d['generation'] = $back + 1"
}
check "a plugin that requires secrets, and no such principal: refused, with its reason" refused needy handle 'nothing for principal needy'
with "a declared secret that is not granted" 'd["secrets"]["treasure"]["grants"] = []' keeper poll 'treasure is not granted to keeper: ductile vault grant'
with "a declared secret that has expired" 'd["secrets"]["treasure"]["expires_ms"] = 1' keeper poll 'treasure has expired: ductile vault secret roll'
with "a declared secret that is revoked" 'd["secrets"]["treasure"].update(status="revoked", value="")' keeper poll 'treasure is revoked'
with "a declared secret that is empty" 'd["secrets"]["treasure"]["value"] = ""' keeper poll 'treasure is empty'
with "a revoked principal" 'd["principals"]["keeper"]["status"] = "revoked"' keeper poll 'principal keeper is revoked'
kept() { is "$(run_job keeper poll '{}' | json 'd.get("result")')" "{'kept': True}"; }
check "with all of it put right the secret is delivered" kept

# ---- a vault that cannot be used -----------------------------------------------------------------------------------
spoiled() { # spoiled 'COMMAND' WORD
    cp -p $VAULT "$WORK/kept"
    bash -c "$1" || return 1
    refused keeper poll "$2"; local r=$?
    cp -p "$WORK/kept" "$VAULT.x" && mv "$VAULT.x" $VAULT
    [ $r = 0 ] && kept
}
check "half of it written: refused, and good again once it is whole" spoiled "truncate -s 300 $VAULT" 'vault'
check "taken away: refused" spoiled "rm $VAULT" 'it is gone'
check "unreadable: refused" spoiled "chown root $VAULT; chmod 600 $VAULT" 'EACCES'
check "rubbish with the size and time of the good one: refused" spoiled \
    "touch -r $VAULT $WORK/t; s=\$(stat -c %s $VAULT); head -c \$s /dev/urandom | dd of=$VAULT conv=notrunc status=none; touch -r $WORK/t $VAULT" 'vault'
cp -p $VAULT "$WORK/older" && cp -p /var/lib/ductile/vault/generation "$WORK/older.generation" && put fresh a-fresh-value unruly
back() { cp -p "$WORK/older" $VAULT; cp -p "$WORK/older.generation" /var/lib/ductile/vault/generation; refused keeper poll 'older vault was put back'; }
cp -p $VAULT "$WORK/newest"
check "an older one put back with its record, while it runs: refused" back
cp -p "$WORK/newest" $VAULT

# ---- nothing leaves before its row is written ----------------------------------------------------------------------
CALM=$(enqueue unruly handle '{"mode": "calm", "seconds": 7}')
for _ in $(seq 100); do [ "$(ledger "select count(*) from audit where kind='secret.delivered' and json_extract(detail,'\$.job')=$CALM")" = 1 ] && break; sleep 0.05; done
stopped() {
    held || return 1
    local bus began took
    bus=$(bus_pid); kill -STOP "$bus"; began=$(date +%s%N); kill -CONT "$(warden_pid)"
    for _ in $(seq 200); do [ "$(denied "$JOB")" = 1 ] && break; sleep 0.05; done
    took=$(( ($(date +%s%N) - began) / 1000000 ))
    pgrep -f unruly.py >/dev/null; local alive=$?
    kill -CONT "$bus"
    await "$JOB"; job "$JOB" | json 'd["state"], d["reason"], d["attempts"]'
    echo "$took" >"$WORK/took"
    echo "refused after $took ms; a running plugin is alive: $alive"
    [ "$took" -gt 4000 ] && [ "$took" -lt 6500 ] && [ $alive = 0 ] && [ "$(job "$JOB" | json 'd["state"]')" = refused ] &&
        [ "$(gateway_log | grep -c "audit secret.delivered keeper .*\\\\\"job\\\\\":$JOB,")" = 0 ]
}
check "the bus is stopped: the delivery is refused within its time, and nothing left" stopped
figure "with the bus stopped: refused after $(cat "$WORK/took") ms"
await "$CALM"
check "what ran meanwhile went on, and ended well" is "$(job "$CALM" | json 'd["state"]')" succeeded
check "the ledger's disk is full: the delivery is refused, and nothing left" full
recorded() { local JOB; JOB=$(cat "$WORK/job"); for _ in $(seq 100); do [ "$(ledger "select count(*) from audit where kind='secret.denied' and json_extract(detail,'\$.job')=$JOB")" = 1 ] && return 0; sleep 0.1; done; return 1; }
check "with room again the refusal is in the book" recorded
check "and secrets are delivered again" kept
check "still the same two processes" test "$(gateways)" = "$before"
check "a stop is clean" stop_gateway
