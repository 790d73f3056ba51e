#!/bin/bash
# The audit book: whole after a day's work, and whatever is done to a row is found and named.
# not: wall-san, host, wall-abi2 (66-book.sh there, with the journal)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
DB=/var/lib/ductile/ledger/ductile.db
printf 'the-value-of-it' | ductile vault secret set token >/dev/null && ductile vault grant token unruly >/dev/null 2>&1
start_gateway || exit 1
work() { run_job unruly handle '{"mode": "calm", "seconds": 0}'; }
work >/dev/null; work >/dev/null; work >/dev/null
whole() { ductile ledger verify && ductile ledger verify --json | json 'd["findings"] == [] and d["rows"] >= 8' | grep -q True; }
check "after some work the chain is whole" whole
by_operator() { as matt true; setpriv --reuid=matt --regid=matt --groups "$(getent group ductile-operators | cut -d: -f3)" ductile ledger verify; }
check "who holds the operators' group can see that" by_operator
refused_journal() { refuses 69 LEDGER-02 ductile ledger verify --journal; }
check "no journal: no comparison, and no good word" refused_journal
stop_gateway
cp $DB "$WORK/good.db"; rm -f $DB-wal $DB-shm
# found NAME 'SQL' 'WHAT': after the change the row is named; nothing else was needed than the file
found() { # found SQL WHAT
    cp "$WORK/good.db" $DB; rm -f $DB-wal $DB-shm; chown ductile-bus:ductile-bus $DB; chmod 600 $DB
    sqlite3 $DB "drop trigger audit_no_update; drop trigger audit_no_delete; $1" || return 1
    chown ductile-bus:ductile-bus $DB*
    start_gateway || return 1
    local out rc
    out=$(ductile ledger verify); rc=$?
    stop_gateway
    echo "$out (exit $rc)"
    [ $rc = 1 ] && grep -q "^row $2" <<<"$out"
}
check "a changed field" found "update audit set detail='{}' where seq=4" '4 is not what was written'
check "a row that is missing" found "delete from audit where seq=4" '4 is missing'
check "the first row missing" found "delete from audit where seq=1" '1 is missing'
check "two rows exchanged" found "update audit set seq=99 where seq=4; update audit set seq=4 where seq=5; update audit set seq=5 where seq=99" '4 is not what was written'
check "a row put in between, with a right hash of its own" found "delete from audit where seq=5; insert into audit select 5, at_ms, actor, uid, kind, subject, detail, prev, hash from audit where seq=3" '5 is not what was written'
rehashed() { # somebody who knows the rule writes a row whose own hash is right
    cat >"$WORK/forge.py" <<'P'
import hashlib, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("drop trigger audit_no_update; drop trigger audit_no_delete")
seq, at, actor, uid, kind, subject, detail, prev = db.execute(
    "select seq, at_ms, actor, uid, kind, subject, detail, prev from audit where seq=4").fetchone()
detail = '{"nothing":"happened"}'
h = hashlib.blake2b(digest_size=32)
for field in (prev, *(n.to_bytes(8, "little") for n in (seq, at, uid)), *(s.encode() for s in (actor, kind, subject, detail))):
    h.update(len(field).to_bytes(8, "little") + field)
db.execute("update audit set detail=?, hash=? where seq=4", (detail, h.digest()))
db.commit()
P
    cp "$WORK/good.db" $DB; rm -f $DB-wal $DB-shm
    python3 "$WORK/forge.py" $DB || return 1
    chown ductile-bus:ductile-bus $DB*; chmod 600 $DB
    start_gateway || return 1
    local out; out=$(ductile ledger verify); stop_gateway
    echo "$out"; grep -q '^row 5 does not follow' <<<"$out"
}
check "a row written over with a hash of its own: the next does not follow" rehashed
