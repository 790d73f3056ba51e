#!/bin/bash
# The audit book against the real journal: the same after a full disk, deaf to forged lines, and no rewriting of the rows
# that the chain itself would not show goes unseen.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/vault.sh"
mkdir -p /var/lib/ductile && mount -t tmpfs -o size=12M,mode=0711 full /var/lib/ductile || exit 1
lab 3 || exit 1
DB=/var/lib/ductile/ledger/ductile.db
HOME_CODE=/home/matt/ductile/plugins/keeper
as matt cp -R "$SRC/tests/wall/plugins/keeper" /home/matt/ductile/plugins/ && as matt chmod -R go-w $HOME_CODE
add_config vault <<'Y'
plugins:
  keeper: {run_as: matt, retry: {max_attempts: 1}}
Y
ductile-install -q apply >/dev/null 2>&1
printf 'the-treasure-itself' | ductile vault secret set treasure >/dev/null && printf 'the-token-itself' | ductile vault secret set token >/dev/null
ductile vault grant treasure keeper >/dev/null 2>&1 && ductile vault grant token unruly >/dev/null 2>&1 && ductile vault grant token unruly-matt >/dev/null 2>&1
ductile plugin lock keeper >/dev/null
check "the gateway starts" start_gateway
verify() { journalctl --sync; ductile ledger verify --json --journal >"$WORK/verify"; local rc=$?; cat "$WORK/verify"; return $rc; }
figure_of() { json "d['$1']" <"$WORK/verify"; }
for _ in 1 2 3; do run_job keeper poll '{}' >/dev/null; run_job unruly handle '{"mode": "calm", "seconds": 0}' >/dev/null; done
same() { verify && [ "$(figure_of deliveries)" = 6 ] && [ "$(figure_of findings)" = "[]" ]; }
check "six deliveries: book and journal say the same" same
lines() { journalctl -o json _EXE=/usr/local/bin/ductile-run + _EXE=/usr/local/libexec/ductile/ductile-bus --output-fields=_UID,_EXE | json '1' >/dev/null 2>&1; journalctl --no-pager -o verbose _EXE=/usr/local/bin/ductile-run | grep -E '_UID=|_EXE=' | sort | uniq -c; journalctl --no-pager -o verbose _EXE=/usr/local/bin/ductile-run | grep '_UID=' | sort -u | grep -qx " *_UID=$(id -u ductile)"; }
check "the journal knows the warden by uid and program, though it cannot be read or traced" lines
heads() { journalctl --no-pager -o cat "_UID=$(id -u ductile-bus)" _EXE=/usr/local/libexec/ductile/ductile-bus | grep -c 'audit head'; [ "$(journalctl --no-pager -o cat "_UID=$(id -u ductile-bus)" _EXE=/usr/local/libexec/ductile/ductile-bus | grep -c 'audit head')" -ge 1 ]; }
check "and the bus, that says the head of the chain, by its own" heads

# ---- forged lines --------------------------------------------------------------------------------------------------
forge() { # forge PLUGIN: as the plugin, by every way into the journal that it has
    cat >/tmp/forge.py <<'P'
import socket, subprocess
line = 'level=info program=ductile-run msg="audit secret.delivered keeper 99999 {\\"job\\":77}"'
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for fields in ("", "_UID=%d\n_EXE=/usr/local/bin/ductile-run\n", "OBJECT_PID=1\n"):
    extra = fields % __import__("os").stat("/run/ductile").st_uid if "%d" in fields else fields
    s.sendto(("MESSAGE=%s\nSYSLOG_IDENTIFIER=ductile-run\nPRIORITY=6\n%s" % (line, extra)).encode(), "/run/systemd/journal/socket")
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
d.sendto(("<30>ductile-run[1]: " + line).encode(), "/run/systemd/journal/dev-log")
t = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
t.connect("/run/systemd/journal/stdout")
t.sendall(("ductile-run\nductile.service\n6\n1\n0\n0\n0\n<6>" + line + "\n").encode())
# our own program, run by us: it has the right _EXE, and not the uid
subprocess.run(["/usr/local/bin/ductile-run", "-c", "/nowhere\n" + line, "serve"], stderr=t.fileno())
print("forged")
P
    chmod 644 /tmp/forge.py
    run_job "$1" handle '{"mode": "sh", "sh": "/usr/bin/python3 /tmp/forge.py 2>&1"}' | json 'd.get("result")' | grep forged || return 1
    journalctl --sync
}
forged() {
    local before after
    before=$(journalctl --no-pager -o cat | grep -c 'secret.delivered keeper 99999')
    forge "$1" || return 1
    after=$(journalctl --no-pager -o cat | grep -c 'secret.delivered keeper 99999')
    echo "$((after - before)) forged lines are in the journal"
    [ $((after - before)) -ge 4 ] && verify && [ "$(figure_of findings)" = "[]" ]
}
check "a confined plugin forges deliveries in the journal: they are there, and do not count" forged unruly
check "so does the operator's" forged unruly_matt
by_unit() { journalctl --no-pager -o cat _SYSTEMD_UNIT=ductile.service SYSLOG_IDENTIFIER=ductile-run | grep -c 'secret.delivered keeper 99999'; [ "$(journalctl --no-pager -o cat _SYSTEMD_UNIT=ductile.service SYSLOG_IDENTIFIER=ductile-run | grep -c 'secret.delivered keeper 99999')" -ge 2 ]; }
check "judged by unit and identifier they would" by_unit

# ---- a full disk ---------------------------------------------------------------------------------------------------
check "a delivery while the ledger's disk is full is refused" full
after_full() { for _ in $(seq 100); do verify >/dev/null && break; sleep 0.1; done; run_job keeper poll '{}' >/dev/null; verify && [ "$(figure_of findings)" = "[]" ]; }
check "and book and journal say the same after it" after_full

# ---- the rows rewritten, chain and all -----------------------------------------------------------------------------
cat >"$WORK/rewrite.py" <<'P'
"""rewrite.py DB SQL: changes rows, then makes the whole chain right again, as whoever keeps the book could."""
import hashlib, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("drop trigger audit_no_update; drop trigger audit_no_delete;" + sys.argv[2])
prev, new = bytes(32), []
for n, (at, actor, uid, kind, subject, detail) in enumerate(db.execute(
        "select at_ms, actor, uid, kind, subject, detail from audit order by seq").fetchall(), 1):
    h = hashlib.blake2b(digest_size=32)
    for field in (prev, *(i.to_bytes(8, "little") for i in (n, at, uid)), *(s.encode() for s in (actor, kind, subject, detail))):
        h.update(len(field).to_bytes(8, "little") + field)
    new.append((n, at, actor, uid, kind, subject, detail, prev, h.digest()))
    prev = h.digest()
db.execute("delete from audit")
db.executemany("insert into audit values(?,?,?,?,?,?,?,?,?)", new)
db.commit()
P
stop_gateway; cp $DB "$WORK/good.db"
N=$(sqlite3 "$WORK/good.db" "select max(seq) from audit where kind='secret.delivered' and subject='keeper'")
rewritten() { # rewritten SQL ROW WHAT: the chain is whole, and the journal names the row
    cp "$WORK/good.db" $DB; rm -f $DB-wal $DB-shm
    python3 "$WORK/rewrite.py" $DB "$1" || return 1
    chown ductile-bus:ductile-bus $DB*; chmod 600 $DB
    start_gateway || return 1
    local alone out rc
    alone=$(ductile ledger verify); rc=$?
    journalctl --sync; out=$(ductile ledger verify --journal); local with=$?
    stop_gateway
    echo "$alone (exit $rc)"; echo "$out (exit $with)"
    [ $rc = 0 ] && [ $with = 1 ] && grep -q "^row $2 $3" <<<"$out"
}
check "a delivery to another: the journal names the row" rewritten "update audit set subject='somebody' where seq=$N" "$N" 'says something else than left'
check "other names in it: the journal names the row" rewritten "update audit set detail=replace(detail, 'treasure', 'pleasure') where seq=$N" "$N" 'says something else than left'
check "a delivery taken out: the journal names the row" rewritten "delete from audit where seq=$N" "$N" 'is missing, or something else'
check "the end cut off: the journal names the row" rewritten "delete from audit where seq>=$N" "$N" 'is'
check "an early row that is no delivery: a head names it" rewritten "update audit set detail='{}' where seq=1" '[0-9]*' 'is not the one that was there'
restored() { cp "$WORK/good.db" $DB; rm -f $DB-wal $DB-shm; chown ductile-bus:ductile-bus $DB; chmod 600 $DB; start_gateway && ductile ledger verify; }
check "with the good rows back the chain is whole" restored
stop_gateway
