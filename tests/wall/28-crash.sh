#!/bin/bash
# A command that changes the vault is hit at its system calls: each fails, or is its last. CRASH_EVERY: every how many
# of these points are tried; 1 for all.
# not: wall-san, host, wall-abi2 (the driver traces; a sanitizer would trace too, and the programs are the same)
. "$(dirname "$0")/../lib/common.sh"
every=${CRASH_EVERY:-211} key=/etc/ductile/secret/age.key vault=/var/lib/ductile/vault/vault.age
install_suite && install_wall && make_people matt || exit 1
ductile-install -q init --posture hybrid --operator matt >/dev/null && ductile-install -q apply >/dev/null 2>&1 || exit 1
recipient=$(age-keygen 2>/dev/null | tee "$WORK/recovery" | sed -n 's/.*public key: //p')
v() { ductile-vault -q "$@" >/dev/null; }
crash() { # crash [-OPTION...] PROGRAM...
    local options=()
    while [ "${1#-}" != "$1" ]; do [ "$1" = -c ] && { options+=(-c); shift; continue; }; options+=("$1" "$2"); shift 2; done
    /opt/wall/crash -m MARKER -d /etc/ductile/secret -d /var/lib/ductile/vault -d /var/lib/ductile/ledger -x /tmp -x /run \
        -k $key -v $vault -n "ductile-vault status >/dev/null 2>&1" "${options[@]}" -- "$@"
}
points() { # points WHAT COMMAND...: prints how many were tried, for the sum at the end
    local out rc
    out=$("${@:2}")
    rc=$?
    printf '%s: %s\n' "$1" "$out" | tee -a "$WORK/points"
    return $rc
}
hit() { points "$*" crash -e "$every" -i MARKER-new ductile-vault "$@"; }
printf MARKER-tok | v secret set tok && printf MARKER-old | v secret set old && v principal add backup --kind consumer &&
    v principal add gone && v principal revoke gone && v grant tok backup && v recipient add "$recipient" || exit 1
v secret revoke old

first() { # where there is neither vault nor key
    mkdir "$WORK/aside" && mv $key $vault /var/lib/ductile/vault/generation "$WORK/aside" || return 1
    points init crash -e "$every" -n "ductile-vault init >/dev/null 2>&1; ductile-vault status >/dev/null 2>&1" ductile-vault init
    local rc=$?
    rm -f $key $vault
    mv "$WORK/aside/"*.key $key && mv "$WORK/aside/vault.age" $vault && mv "$WORK/aside/generation" /var/lib/ductile/vault/
    return $rc
}
check "init: key and vault are both there and fit, or the next init makes them" first
while IFS="|" read -r name verb; do
    check "$name: as before or as after, no plaintext, and the next run tidies up" hit $verb
done <<L
secret set|secret set new
secret roll|secret roll tok --keep-previous 1h
secret revoke|secret revoke tok
secret remove|secret remove tok
principal add|principal add other
principal revoke|principal revoke backup
principal purge|principal purge gone
grant|grant tok backup --as again
ungrant|ungrant tok backup
recipient add|recipient add age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z
recipient remove|recipient remove $recipient
import|import --format pass --as piped
rotate-key|rotate-key
L
# The scribe, the child that writes facts down: what stands beside the ledger of the newest generation is never behind
# the ledger, nor ahead of the vault; the next fact sweeps.
cat >/opt/wall/newest <<'P'
#!/usr/bin/python3
import json, os, sqlite3, subprocess, sys
vault = json.loads(subprocess.run(["age", "-d", "-i", "/etc/ductile/secret/age.key", "/var/lib/ductile/vault/vault.age"], capture_output=True, check=True).stdout)
with sqlite3.connect("file:/var/lib/ductile/ledger/ductile.db?mode=ro", uri=True) as db:
    row = db.execute("select json_extract(detail, '$.generation') from audit where actor = 'ductile-vault' and json_extract(detail, '$.vault') = ?"
                     " and json_extract(detail, '$.generation') is not null order by seq desc limit 1", (vault["vault_id"],)).fetchone()
try:
    beside = dict(line.split() for line in open("/var/lib/ductile/ledger/vault-generations"))[vault["vault_id"]]
except FileNotFoundError:
    sys.exit(0)
if not (row[0] if row else 0) <= int(beside) <= vault["generation"]:
    sys.exit("ledger %s, beside it %s, vault %d" % (row, beside, vault["generation"]))
P
chmod 755 /opt/wall/newest
scribe() { # scribe EVERY VERB...
    points "the scribe of $2 $3" crash -c -e "$1" -i MARKER-new -n "{ /opt/wall/newest && ductile-vault status && ductile-vault grant tok backup && /opt/wall/newest; } >/dev/null 2>&1" \
        ductile-vault "${@:2}"
}
check "the scribe, hit at its calls: what stands beside the ledger is never behind it, nor ahead of the vault" scribe "$every" principal add other
first_time() { # nothing stands there yet: it is collected from the facts
    rm /var/lib/ductile/ledger/vault-generations; scribe "$every" secret set new
}
check "the same where it is written for the first time" first_time
interrupted() { # killed after each change of a directory, and then the run that tidies up is hit too
    local k rc=0
    cp -a /etc/ductile/secret "$WORK/secret" && cp -a /var/lib/ductile/vault "$WORK/vault" && cp -a /var/lib/ductile/ledger "$WORK/ledger" || return 1
    for k in 1 2 3 4 5 6 7 8; do
        crash -1 "$k" ductile-vault rotate-key || { echo "it was not killed after change $k"; rc=1; }
        [ -e /var/lib/ductile/vault/rotating ] || { echo "no mark after change $k"; rc=1; }
        points "status after change $k of rotate-key" crash -e "$((every * 3))" ductile-vault status || rc=1
        rm -f /etc/ductile/secret/* /var/lib/ductile/vault/* /var/lib/ductile/ledger/*
        cp -a "$WORK/secret/." /etc/ductile/secret/ && cp -a "$WORK/vault/." /var/lib/ductile/vault/ && cp -a "$WORK/ledger/." /var/lib/ductile/ledger/
    done
    return $rc
}
check "rotate-key, interrupted anywhere, and the run that finishes or undoes it too" interrupted
unrecorded() { # killed between the change and its row
    local rows
    crash -1 2 ductile-vault principal add unseen && v principal add seen || return 1
    rows=$(ledger "select kind || ' ' || coalesce(json_extract(detail, '$.result'), subject) from audit order by seq desc limit 2")
    echo "$rows"
    [ "$rows" = $'principal.added seen\nvault.recovered unrecorded' ] && v principal show unseen
}
check "a change whose row was never written is written down by the next" unrecorded
opens_for_recovery() { [ -n "$(age -d -i "$WORK/recovery" $vault)" ]; }
check "the recovery key opens it still" opens_for_recovery
naive() { # naive HOW WORDS EVERY: the driver finds it. It runs age, whose threads make no two runs alike, so a pass may miss
    local out
    for _ in 1 2 3; do
        out=$(crash -e "$3" /opt/wall/naive "$1" $key $vault "$(age-keygen -y $key)") && { echo "$out"; echo "it was not found"; continue; }
        printf '%s\n' "$out"
        grep -q "$2" <<<"$out" && return
    done
    return 1
}
check "control: one who writes in place is found" naive inplace "the key does not open the vault" 1
check "control: one who keeps the text in a file on its way is found" naive plaintext "plaintext was written to a file" 50
check "control: one who renames before the fsync is found" naive unsynced "renamed before its fsync" 50
check "control: one who leaves a file that no later run removes is found" naive leaky "the next run leaves" 1
figure "$(awk '{ for (i = 2; i <= NF; i++) if ($i == "points") n += $(i - 1) } END { print n + 0 }' "$WORK/points") points tried"
sed 's/^/# /' "$WORK/points"
