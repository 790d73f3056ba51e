#!/bin/bash
# Where the values of tokens and the keys of webhooks are: in the warden's locked memory. Not in the bus, which is shown
# tokens and has signatures checked; not in ledger or log.
# not: wall-san, host, wall-abi2 (a sanitizer keeps memory of its own; the booted tree has no age)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
lab 2 || exit 1
PORT=18780
add_config tokens <<Y
api:
  listen: "127.0.0.1:$PORT"
  tokens:
  - {name: ci, secret_ref: ci-token, scopes: ["*"]}
  - {name: idle, secret_ref: idle-token, scopes: ["*"]}
webhooks:
- {name: forge, secret_ref: forge-key, plugin: unruly}
Y
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
CI=ci-0123456789abcdef0123456789abcdef OLD=ci-before-0123456789abcdef0123456789 IDLE=idle-0123456789abcdef0123456789abcdef KEY_OF=forge-0123456789abcdef0123456789abcdef
put() { printf %s "$2" | ductile vault secret set "$1" >/dev/null && ductile vault grant "$1" core >/dev/null 2>&1; }
put ci-token $OLD && put idle-token $IDLE && put forge-key $KEY_OF || exit 1
check "the gateway starts" start_gateway
knock() { python3 "$SRC/tests/wall/knock.py" $PORT "$@" | head -1; }
BODY='{"mode": "calm", "seconds": 0}'
sign() { printf 'X-Hub-Signature-256: sha256=%s' "$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$1" -r | cut -d' ' -f1)"; }
used() {
    [ "$(knock GET /jobs "Authorization: Bearer $OLD" </dev/null)" = 200 ] || return 1
    printf %s $CI | ductile vault secret roll ci-token >/dev/null
    for _ in $(seq 100); do [ "$(knock GET /jobs "Authorization: Bearer $CI" </dev/null)" = 200 ] && break; sleep 0.05; done
    [ "$(knock GET /jobs "Authorization: Bearer $OLD" </dev/null)" = 401 ] &&
        [ "$(printf %s "$BODY" | knock POST /hook/forge "$(sign $KEY_OF)")" = 202 ] &&
        [ "$(printf %s "$BODY" | knock POST /hook/forge "$(sign wrong)")" = 401 ] &&
        [ "$(knock GET /jobs "Authorization: Bearer $CI" "Authorization: Bearer $IDLE" </dev/null)" = 401 ] &&
        [ "$(knock POST /hook/forge "Authorization: Bearer $CI" </dev/null)" = 401 ]
}
check "tokens are shown, rolled and refused, signatures are checked" used
scan() { python3 "$SRC/tests/wall/scan.py" "$1" $CI $OLD $IDLE $KEY_OF | tee "$WORK/scan"; }
found() { json "d['$1']['$2']" <"$WORK/scan"; }
clean() { scan "$(bus_pid)"; ! grep -q '"found": [1-9]' "$WORK/scan"; }
check "the bus's memory holds no value and no key, also of those it was shown" clean
holds() { scan "$(warden_pid)"; [ "$(found $CI found) $(found $IDLE found) $(found $KEY_OF found)" = '1 1 1' ] && ! grep -q '"unsafe": [1-9]' "$WORK/scan"; }
check "control: the warden's does, each once, in locked memory" holds
rolled() { scan "$(warden_pid)"; [ "$(found $OLD found)" = 0 ]; }
check "and nothing of what was rolled" rolled
silent() { stop_gateway; ! grep -laE "$CI|$OLD|$IDLE|$KEY_OF" /var/lib/ductile/ledger/* "$WORK/gateway.log"; }
check "nor do ledger and log" silent
