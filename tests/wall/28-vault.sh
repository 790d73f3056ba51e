#!/bin/bash
# The verbs of ductile-vault: what each does, what it refuses, what stands in the ledger after it, and the form of its
# --json.
# not: wall-san, host, wall-abi2 (the unit tests have the sanitizers; a command is the same in a nest)
. "$(dirname "$0")/../lib/common.sh"
install_suite && make_people matt || exit 1
ductile-install -q init --posture hybrid --operator matt >/dev/null && ductile-install -q apply >/dev/null 2>&1 || exit 1
vault=/var/lib/ductile/vault/vault.age key=/etc/ductile/secret/age.key schema=$SRC/share/schema/vault.schema.json
recipient=$(age-keygen 2>/dev/null | tee "$WORK/recovery" | sed -n 's/.*public key: //p')
v() { ductile-vault "$@"; }
rows() { ledger "select count(*) from audit where actor = 'ductile-vault'"; }
row() { [ "$(ledger "select kind || ' ' || subject from audit order by seq desc limit 1")" = "$*" ] || { ledger "select kind, subject, detail from audit order by seq desc limit 3"; return 1; }; }
says() { # says WORDS VERB...: it does, says so in one line, and one row is written
    local before out
    before=$(rows)
    out=$(v "${@:2}" 2>"$WORK/err") || { cat "$WORK/err"; return 1; }
    printf '%s\n' "$out"
    [ "$(rows)" = $((before + 1)) ] || { echo "$((before)) rows, then $(rows)"; return 1; }
    [ "$(wc -l <<<"$out")" = 1 ] && grep -qF -- "$1" <<<"$out"
}
denied() { # denied CODE ID VERB...: refused, written down, and the vault is as it was
    local before=$(sha256sum <$vault)
    refuses "$1" "$2" ductile-vault "${@:3}" || return 1
    row "vault.denied $(ledger "select subject from audit order by seq desc limit 1")" && [ "$(sha256sum <$vault)" = "$before" ]
}
opened() { age -d -i "${1:-$key}" $vault; }

set_() { printf 'first-value' | says "stored; nobody gets it yet" secret set token --expires 90d --rotate-every 30d && row secret.set token; }
check "secret set stores a value, with an expiry and an interval" set_
same() { printf 'first-value' | says "had this value already" secret set token && [ "$(ledger "select json_extract(detail, '$.changed') from audit order by seq desc limit 1")" = 0 ]; }
check "the same value once more changes nothing" same
check "another value is refused: roll is the way" denied 65 VAULT-VALUE-01 secret set token <<<"other"
check "an empty value is refused" denied 65 VAULT-VALUE-01 secret set empty </dev/null
check "a value over 32 KiB is refused" denied 65 VAULT-VALUE-01 secret set big < <(head -c 40000 /dev/zero | tr '\0' x)
check "a file that is not there is refused, and that is written down" denied 66 VAULT-VALUE-02 secret set token2 --from-file /nowhere
check "an expiry that is past is refused" denied 65 VAULT-NAME-01 secret set token2 --expires 2020-01-01
check "principal add" says "may be granted secrets now" principal add backup --kind consumer
check "grant to nobody known is refused" denied 65 VAULT-NAME-02 grant token nobody
check "grant of nothing known is refused" denied 65 VAULT-NAME-02 grant nothing backup
check "grant says to whom and when" says 'delivered to backup as "api" from its next spawn on' grant token backup --as api
roll() {
    printf 'second-value' | says "the new value is delivered from the next spawn on, the old one meanwhile as api_previous" secret roll token --keep-previous 1h && row secret.rolled token || return 1
    opened | python3 -c 'import json,sys; s=json.load(sys.stdin)["secrets"]["token"]; sys.exit((s["value"], s["previous"], "expires_ms" in s) != ("second-value", "first-value", False))'
}
check "roll supersedes, keeps the old value, and forgets its expiry" roll
check "rolling to the same value is refused" denied 65 VAULT-VALUE-01 secret roll token < <(printf second-value)
check "a name that the kept value has is not granted" denied 65 VAULT-VALUE-01 grant token backup --as api_previous
reveal() { [ "$(v reveal token --stdout)" = second-value ] && row secret.revealed token; }
check "reveal --stdout gives the value to the byte, and is a row" reveal
check "reveal into a pipe without --stdout is refused" denied 64 CLI-YES-01 reveal token
tty() { # answers $1 to the question on a terminal of its own
    python3 - "$1" <<'P'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("ductile-vault", ["ductile-vault", "reveal", "token"])
out = b""
while b"[y/N]" not in out:
    out += os.read(fd, 4096)
os.write(fd, sys.argv[1].encode() + b"\n")
try:
    while more := os.read(fd, 4096):
        out += more
except OSError:
    pass
print(out.decode())
os.waitpid(pid, 0)
P
}
check "reveal on a terminal asks, and shows after a yes" bash -c "$(declare -f tty); tty y | grep -q second-value"
check "and not after a no" bash -c "$(declare -f tty); ! tty n | grep -q second-value"
transfer() { # transfer FORMAT: what goes out comes in again
    v export --format "$1" >"$WORK/out" 2>/dev/null && row vault.exported $vault || return 1
    v -q secret remove token >/dev/null && v -q secret remove odd >/dev/null && v import <"$WORK/out" || return 1
    v export --format "$1" 2>/dev/null | diff "$WORK/out" - && [ "$(v reveal odd --stdout)" = "$odd" ]
}
odd=$'a "quote", a \\ a $dollar\nand a second line # not a comment'
printf %s "$odd" | v -q secret set odd >/dev/null
check "export and import: JSON" transfer json
check "export and import: dotenv" transfer dotenv
pass() { printf 'from-pass\nuser: x\n' | says "1 new, 0 rolled" import --format pass --as piped && [ "$(v reveal piped --stdout)" = from-pass ]; }
check "import: the first line of pass" pass
check "import is all or nothing" denied 65 VAULT-VALUE-01 import < <(printf '{"fresh": "x", "piped": "another-value"}')
check "and says no word of a value, nor of a line" bash -c '! printf "no-name-here-SENTINEL\n" | ductile-vault import 2>&1 | grep SENTINEL'
check "import --force rolls" says "1 new, 1 rolled" import --force < <(printf '{"fresh": "x", "piped": "another-value"}')
dry() { printf '{"dry": "x"}' | says "it would be: 1 new" import --dry-run && ! v secret show dry 2>/dev/null; }
check "import --dry-run changes nothing" dry
recovery() { says "its key opens the vault from now on" recipient add "$recipient" && [ -n "$(opened "$WORK/recovery")" ] && v recipient list | grep -q "$recipient  vault"; }
check "recipient add: that key opens the vault too" recovery
no_more() { says "its key opens no vault from now on" recipient remove "$recipient" && ! opened "$WORK/recovery" 2>/dev/null; }
check "recipient remove: and then no more" no_more
check "a recipient that is none is refused" denied 65 VAULT-NAME-01 recipient add age1nonsense
from_config() {
    printf 'secrets: {recovery_recipients: [%s]}\n' "$recipient" >/etc/ductile/plugins.d/recovery.yaml
    v -q principal add another >/dev/null && [ -n "$(opened "$WORK/recovery")" ] && v recipient list | grep -q "$recipient  config"
}
check "a recipient of the config opens it from the next change on" from_config
check "and is taken out there, not here" denied 65 VAULT-NAME-01 recipient remove "$recipient"
rotate() {
    cp -a $key "$WORK/old" && cp -a $vault "$WORK/older.age"
    says "secret zero is age1" rotate-key && row key.rotated $key || return 1
    ! opened "$WORK/old" 2>/dev/null && [ -n "$(opened)" ] && [ -n "$(opened "$WORK/recovery")" ] && [ -n "$(age -d -i $key.old-* "$WORK/older.age")" ]
}
check "rotate-key: the new key opens it, the old one only older copies, the recovery key both" rotate
misfit() { # the key of another day: both recipients are named
    local now=$(age-keygen -y $key) rc
    cp -a $key "$WORK/now" && cat "$WORK/old" >$key
    refuses 65 VAULT-OPEN-01 ductile-vault status | tee "$WORK/out"
    cat "$WORK/now" >$key
    grep -q "vault.age was encrypted to $now, the key in $key is $(age-keygen -y "$WORK/old")" "$WORK/out"
}
check "a key that does not fit is told by both recipients" misfit
gone() { # secret zero is there, so it is no fresh host: what an empty vault would hide comes first
    mv $vault "$WORK/away"; refuses 65 VAULT-OPEN-01 ductile-vault status >"$WORK/out"; local rc=$?; mv "$WORK/away" $vault; cat "$WORK/out"
    [ $rc = 0 ] && grep -q 'do:  put the vault back from a backup, or, to begin empty: ductile-vault init' "$WORK/out"
}
check "a vault that is gone is to be put back, before an empty one is made" gone
rollback() { # put back with its record: the ledger remembers
    cp -a $vault "$WORK/v" && cp -a /var/lib/ductile/vault/generation "$WORK/g" && v -q principal add later >/dev/null || return 1
    cat "$WORK/v" >$vault; refuses 65 VAULT-OPEN-01 ductile-vault status | tee "$WORK/out" && grep -q "an older vault was put back" "$WORK/out" || return 1
    cat "$WORK/g" >/var/lib/ductile/vault/generation; refuses 65 VAULT-OPEN-01 ductile-vault status || return 1
    v check --accept-rollback 2>&1; row rollback.accepted $vault && v status
}
check "an older vault is refused, also with its record, and accepted on purpose" rollback
# Whoever owns the ledger's file can hold it up: then an older vault is not taken for the newest.
holding() { # holding COMMAND...: while another has the ledger for itself
    local rc
    python3 -c 'import sqlite3, time
c = sqlite3.connect("/var/lib/ductile/ledger/ductile.db", isolation_level=None)
c.execute("PRAGMA locking_mode=EXCLUSIVE"); c.execute("BEGIN EXCLUSIVE"); print("held", flush=True); time.sleep(60)' >"$WORK/held" &
    until [ -s "$WORK/held" ]; do sleep 0.05; done
    "$@"
    rc=$?
    kill $! && wait $! 2>/dev/null
    rm "$WORK/held"
    return $rc
}
silent() {
    refuses 75 VAULT-LEDGER-01 ductile-vault reveal token --stdout | tee "$WORK/out" && ! grep -q value-of "$WORK/out"
    printf x | refuses 75 VAULT-LEDGER-01 ductile-vault secret set unheard || return 1
}
check "while the ledger does not answer no value is shown or changed" holding silent
check "and when it answers again all is well" bash -c 'ductile-vault reveal token --stdout >/dev/null && ! ductile-vault status 2>&1 | grep -q "does not answer"'
beside=/var/lib/ductile/ledger/vault-generations
unasked() { # unasked [-]: status as it is, then with an older vault and its record put back; -: without what stands beside the ledger
    local rc=0
    cp -a $vault "$WORK/v" && cp -a /var/lib/ductile/vault/generation "$WORK/g" && v -q principal add "unasked$RANDOM" >/dev/null || return 1
    cp -a $vault "$WORK/newest" && cp -a /var/lib/ductile/vault/generation "$WORK/gen" || return 1
    [ "$1" != - ] || mv $beside "$WORK/beside"
    ductile-vault status >"$WORK/out" 2>&1 || rc=1
    grep ductile-vault: "$WORK/out"
    cat "$WORK/v" >$vault && cat "$WORK/g" >/var/lib/ductile/vault/generation
    refuses 65 VAULT-OPEN-01 ductile-vault status || rc=1
    holding ductile-vault status 2>&1 | grep ductile-vault: | tee "$WORK/held-out"
    cat "$WORK/newest" >$vault && cat "$WORK/gen" >/var/lib/ductile/vault/generation
    [ "$1" != - ] || mv "$WORK/beside" $beside
    [ $rc = 0 ] && ! grep -q 'does not answer' "$WORK/out"
}
beside_it() { unasked yes && grep -q 'refused VAULT-OPEN-01' "$WORK/held-out"; }
check "status tells an older vault by what stands beside the ledger, also while that does not answer" beside_it
without_it() { unasked - && grep -q 'does not answer: an older vault could not be told' "$WORK/held-out"; }
check "where nothing stands there it asks the ledger, and says when that does not answer" without_it
another() { # another vault in between does not make the older one the newest
    cp -a $vault "$WORK/v" && cp -a /var/lib/ductile/vault/generation "$WORK/g" && v -q principal add latest >/dev/null && cp -a $vault "$WORK/newest" && cp -a /var/lib/ductile/vault/generation "$WORK/gen" || return 1
    rm $vault /var/lib/ductile/vault/generation && v init >/dev/null 2>&1 && v status 2>&1 | sed -n 1p || return 1
    cat "$WORK/v" >$vault && cat "$WORK/g" >/var/lib/ductile/vault/generation
    refuses 65 VAULT-OPEN-01 ductile-vault status || return 1
    cat "$WORK/newest" >$vault && cat "$WORK/gen" >/var/lib/ductile/vault/generation && v status | sed -n 1p
}
check "an older vault is refused also after another one was made" another
odd() { # odd COMMAND...: what stands beside the ledger is made so; status is as ever, an older vault refused as ever, and the next change mends it
    local rc=0 want
    cp -a $vault "$WORK/v" && cp -a /var/lib/ductile/vault/generation "$WORK/g" && v -q principal add "odd$((++odds))" >/dev/null || return 1
    cp -a $vault "$WORK/newest" && cp -a /var/lib/ductile/vault/generation "$WORK/gen" && want=$(head -1 $beside) || return 1
    rm $beside && "$@" || return 1
    timeout 20 ductile-vault status >"$WORK/out" 2>&1 || rc=1
    grep ductile-vault: "$WORK/out" && rc=1
    cat "$WORK/v" >$vault && cat "$WORK/g" >/var/lib/ductile/vault/generation
    refuses 65 VAULT-OPEN-01 timeout 20 ductile-vault status || rc=1
    cat "$WORK/newest" >$vault && cat "$WORK/gen" >/var/lib/ductile/vault/generation
    rmdir $beside 2>/dev/null
    v -q principal revoke "odd$odds" >/dev/null && grep -q "^${want%% *} $((${want##* } + 1))\$" <(head -1 $beside) && [ "$(stat -c '%U %a' $beside)" = 'ductile-bus 600' ] || { cat $beside; rc=1; }
    return $rc
}
odds=0
odd_ones() {
    local rc=0 line
    odd true && odd touch $beside && odd ln -s /etc/passwd $beside && odd mkfifo $beside && odd mkdir $beside && odd dd if=/dev/urandom of=$beside bs=64K count=1 status=none || rc=1
    line=$(head -1 $beside)
    for text in "$line" "$line"$'\n'"$line"$'\n' "${line%% *} 0"$'\n' "${line%% *} -1"$'\n' "${line%% *} 99999999999999999999"$'\n' "${line%% *}"$'\n' "${line%% *}  7"$'\n' \
        "${line/[0-9a-f]/G}"$'\n' " $line"$'\n' "$line x"$'\n' $'\n'"$line"$'\n'; do
        printf %s "$text" >"$WORK/text" && odd cp "$WORK/text" $beside || { printf 'not so with %q\n' "$text"; rc=1; }
    done
    return $rc
}
check "what stands there and is not as it should be is not believed: the ledger is asked, and the next change mends it" odd_ones
not_ours() { # the bus's, as the ledger is: who owns the vault can neither read nor change it
    for command in "cat $beside" "rm -f $beside" "touch $beside" "mv $vault $beside"; do
        ! setpriv --reuid ductile --regid ductile --clear-groups sh -c "$command" 2>&1 || { echo "it went: $command"; return 1; }
    done
    v status | sed -n 1p
}
check "who owns the vault cannot change what stands beside the ledger" not_ours
full() { # where it cannot be written nothing stays there that is behind: the ledger's disk has room for its own files and for no other
    local ledger=/var/lib/ductile/ledger rc=0
    cp -a $ledger "$WORK/ledger" && mount -t tmpfs -o nr_inodes=5,mode=700,uid=$(id -u ductile-bus),gid=$(id -g ductile-bus) full $ledger && cp -a "$WORK/ledger/." $ledger/ || return 1
    cp -a $vault "$WORK/v" && cp -a /var/lib/ductile/vault/generation "$WORK/g"
    v principal add crowded 2>&1 | tee "$WORK/out"
    grep -q 'not recorded' "$WORK/out" && rc=1
    [ ! -e $beside ] || { echo "it stays:"; cat $beside; rc=1; }
    cp -a $vault "$WORK/newest" && cp -a /var/lib/ductile/vault/generation "$WORK/gen"
    cat "$WORK/v" >$vault && cat "$WORK/g" >/var/lib/ductile/vault/generation
    refuses 65 VAULT-OPEN-01 ductile-vault status || rc=1
    cat "$WORK/newest" >$vault && cat "$WORK/gen" >/var/lib/ductile/vault/generation
    mount -o remount,nr_inodes=100 $ledger && v -q principal revoke crowded >/dev/null || rc=1
    [ "$(sed -n '1s/.* //p' $beside)" = "$(v status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["generation"])')" ] || { cat $beside; rc=1; }
    rm -r "$WORK/ledger" && cp -a $ledger "$WORK/ledger" && umount $ledger && rm -f $ledger/* && cp -a "$WORK/ledger/." $ledger/ && return $rc
}
check "where it cannot be written it is taken away, and later written again" full
foreign() { # a vault that the ledger has never seen, beside one that it has
    cp -a $vault "$WORK/newest"
    opened | python3 -c 'import json, sys; d = json.load(sys.stdin); d["vault_id"] = "0" * 32; json.dump(d, sys.stdout)' | age -r "$(age-keygen -y $key)" -o "$WORK/foreign" && cat "$WORK/foreign" >$vault
    v status 2>&1 | tee "$WORK/out"
    cat "$WORK/newest" >$vault
    grep -q 'knows of another vault, and not of this one' "$WORK/out" && v status 2>&1 | sed -n 1p && ! v status 2>&1 | grep -q 'another vault'
}
check "a vault that the ledger has never seen is told" foreign
check "revoke is for good: the value is gone" bash -c "ductile-vault secret revoke piped && ! age -d -i $key $vault | grep -q another-value && ! ductile-vault reveal piped --stdout"
check "a revoked name is not set again" denied 65 VAULT-VALUE-01 secret set piped < <(printf again)
check "ungrant says what holds from now on" bash -c 'ductile-vault -q grant fresh backup && ductile-vault ungrant fresh backup | grep -q "no longer delivered to backup"'
hex() { printf "%040d" "$1"; }
gateways() { # the gateway asks at each request, a plugin is given it once
    hex 1 | v -q secret set own && says 'delivered to core as "mine" from now on' grant own core --as mine || return 1
    hex 2 | says 'the new value is delivered from now on, the old one meanwhile too;' secret roll own --keep-previous 1h || return 1
    v -q grant own backup && hex 3 | says 'the new value is delivered from the next spawn on (core: from now on);' secret roll own || return 1
    says 'no longer delivered to backup from its next spawn on' ungrant own backup &&
        says 'no longer delivered to core from now on' ungrant own core && v -q grant own core &&
        says 'nobody gets it from now on' secret revoke own && says 'core: gets nothing from now on, for good' principal revoke core &&
        v -q principal purge core
}
check "what the gateway itself has changes at once, and each verb says so" gateways
named() { denied 65 VAULT-VALUE-01 secret set fresh < <(hex 4) | tee "$WORK/out"; grep -q 'secret roll fresh$' "$WORK/out"; }
check "a refused value names the secret in its remedy" named
check "an active principal is not purged" denied 65 VAULT-NAME-01 principal purge backup
check "principal revoke is for good" bash -c 'ductile-vault principal revoke backup && ! ductile-vault grant fresh backup'
check "purge frees the name" bash -c 'ductile-vault principal purge backup && ductile-vault principal add backup'
findings() {
    printf 'short-lived' | v -q secret set dying --expires 1d >/dev/null && printf 'unused-one' | v -q secret set unused >/dev/null && v -q grant unused backup >/dev/null
    v check --json >"$WORK/check"
    [ $? = 1 ] && json '"expiring/dying granted-to-nobody/dying never-delivered/unused drift/backup".split() == [w for w in "expiring/dying granted-to-nobody/dying never-delivered/unused drift/backup".split() if w in [f["kind"] + "/" + f["subject"] for f in d["findings"]]]' <"$WORK/check" | grep -qx True || { cat "$WORK/check"; return 1; }
}
check "check finds what expires, what nobody gets, what was never delivered, what the config does not know" findings

forms() { # every verb's --json is what its schema says
    local name rc=0 n=0
    while IFS='|' read -r name input args; do
        printf %s "$input" | ductile-vault ${args:-$name} --json 2>"$WORK/err" >"$WORK/json"
        "$SRC/tests/lib/schema.py" "$schema" "$name" <"$WORK/json" || { echo "$name:"; cat "$WORK/err"; rc=1; }
        n=$((n + 1))
    done <<L
principal add||principal add formal
principal list||
principal show||principal show formal
what||what formal
secret set|some-value|secret set formal --expires never
secret roll|other-value|secret roll formal --keep-previous 1h --expires 2099-01-01
secret list||
secret show||secret show formal
grant||grant formal formal
who||who formal
status||
ungrant||ungrant formal formal
recipient add||recipient add age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z
recipient list||
recipient remove||recipient remove age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z
export||
import|{"formal2": "x"}|
rotate-key||
audit||audit --limit 500
check||
secret revoke||secret revoke formal
secret remove||secret remove formal
principal revoke||principal revoke formal
principal purge||principal purge formal
refusal||principal purge formal
keygen||keygen -o $WORK/made
encrypt|text|encrypt -r age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z -o $WORK/made.age
L
    rm -f $vault $key /var/lib/ductile/vault/generation
    ductile-vault init --json 2>/dev/null | "$SRC/tests/lib/schema.py" "$schema" init || rc=1
    [ $n -gt 20 ] || rc=1
    return $rc
}
check "every verb's --json is what share/schema/vault.schema.json says" forms
bites() { ! printf '{"subject":"x","effect":"y","generation":1,"value":"leak"}' | "$SRC/tests/lib/schema.py" "$schema" "secret set" && ! printf '{"subject":"x","generation":1}' | "$SRC/tests/lib/schema.py" "$schema" "secret set"; }
check "control: the schema refuses a field too many, and one too few" bites
credential() { # secret zero as the service manager hands it over: the operator exchanges it
    local old=/run/handed/age new=/root/new.key
    mkdir /run/handed && cp -a $key $old && chown ductile:ductile /run/handed $old && chmod 700 /run/handed && chmod 400 $old && mv $key "$WORK/moved" || return 1
    printf 'secrets: {age_key_file: "credential:age", recovery_recipients: []}\n' >/etc/ductile/plugins.d/recovery.yaml
    export CREDENTIALS_DIRECTORY=/run/handed
    refuses 78 VAULT-KEY-01 ductile-vault rotate-key && says "the vault opens with both keys" rotate-key --new-key $new || return 1
    [ "$(stat -c %U:%a $new)" = root:600 ] && [ -n "$(opened $old)" ] && [ -n "$(opened $new)" ] || return 1
    refuses 78 VAULT-KEY-01 ductile-vault rotate-key --new-key $new || return 1
    cp "$old" "$WORK/before" && cat $new >$old && says "opens no vault from now on" recipient remove "$(age-keygen -y $new)" || return 1
    [ -n "$(opened $new)" ] && ! opened "$WORK/before"
}
check "rotate-key of a credential: the new key goes where --new-key says, and both open meanwhile" credential
mistyped() { # a value where a name belongs: not kept
    ! v secret set "ghp_NotAName" </dev/null 2>/dev/null && ! v recipient add AGE-SECRET-KEY-1TYPED 2>"$WORK/err" && row "vault.denied (not a name)" &&
        ! grep -q 1TYPED "$WORK/err" && ! grep -aqi -e NotAName -e 1TYPED /var/lib/ductile/ledger/*
}
check "what was typed in place of a name is not written down, a private key not shown" mistyped
check "no value stands in the ledger" bash -c '! grep -aq -e first-value -e second-value -e from-pass -e short-lived /var/lib/ductile/ledger/*'
