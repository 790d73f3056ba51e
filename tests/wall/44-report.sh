#!/bin/bash
# What the gate says: documents that hold their schemas, pictures drawn from what was found, and the difference of two runs.
# not: wall-san, wall-abi2, host (the same documents; the unit tests of the writers run under the sanitizers)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
chmod 755 "$WORK"
gate() { as_service /usr/local/bin/ductile-gate "$@"; }
broken() { local layers=$1; shift; as_service env DUCTILE_BREAK="$layers" "$BROKEN_BIN/ductile-gate" "$@"; }
OPEN=keepcaps,nofilter,noproof # without these the wall is climbed
exits() { local code=$1 rc; shift; "$@"; rc=$?; [ $rc = "$code" ] || { echo "exit $rc"; return 1; }; }

# ---- documents ------------------------------------------------------------------------------------------------------------
schema() { python3 "$SRC/tests/lib/schema.py" "$SRC/share/schema/gate.schema.json"; }
holds() { # holds CODE COMMAND...: exits with CODE, and standard output is one document of the schema
    local code=$1
    shift
    exits "$code" "$@" >"$WORK/document" 2>/dev/null && schema <"$WORK/document"
}
mkdir "$WORK/away" && mv /var/lib/ductile/ledger/* "$WORK/away/"
no_ledger() { refuses 66 GATE-DIFF-01 gate diff && [ -z "$(ls -A /var/lib/ductile/ledger)" ]; }
check "diff without a ledger is refused, and makes none" no_ledger
mv "$WORK"/away/* /var/lib/ductile/ledger/
no_run() { refuses 66 GATE-DIFF-01 gate diff && grep 'no run of the gate' <<<"$(gate diff 2>&1)"; }
check "diff without a run is refused" no_run
check "check --json holds the schema" holds 0 gate check --json
one_run() { refuses 66 GATE-DIFF-01 gate diff && grep 'has one run' <<<"$(gate diff 2>&1)"; }
check "diff with one run is refused" one_run
check "prove --json holds it" holds 0 gate prove --json
check "a climbed wall's does" holds 1 broken $OPEN prove --json
check "diff --json does" holds 1 gate diff --json
check "list --json does" holds 0 gate list --json
check "explain --json does" holds 0 gate explain secret-zero --json
check "posture --json does" holds 0 gate posture --json
check "why-not --json does" holds 1 /usr/local/bin/ductile-gate why-not --json default /etc/ductile/config.yaml
check "a refusal does" holds 64 gate explain --json no-such-id
renamed() { gate check --json 2>/dev/null | sed 's/"evidence"/"proof"/' | not schema; }
check "control: a field of another name does not" renamed
sarif() { # sarif CODE COMMAND...: exits with CODE, and standard output is one document as the standard has it
    local code=$1
    shift
    exits "$code" "$@" --sarif >"$WORK/document" 2>/dev/null && python3 "$SRC/tests/lib/sarif.py" <"$WORK/document" || return 1
    python3 - "$WORK/document" <<'P'
import json, sys
(run,) = json.load(open(sys.argv[1]))["runs"]
(invocation,) = run["invocations"]
levels = {r["level"] for r in run["results"]}
print(len(run["results"]), levels, invocation)
assert run["tool"]["driver"]["name"] == "ductile-gate" and ("error" in levels) == (invocation["exitCode"] != 0)
P
}
check "check --sarif is a SARIF document of warnings" sarif 0 gate check
spoilt() { python3 "$SRC/tests/lib/sarif.py" --control <"$WORK/document"; }
check "control: spoilt in one place, it is none, wherever that is" spoilt
check "a climbed wall's has errors" sarif 1 broken $OPEN prove
check "with what passed, it is one" sarif 0 gate check -v
# What others wrote is quoted: it must not be read as a placeholder or a link, and a path is canonical.
cat >/etc/ductile/plugins.d/more.yaml <<'Y'
accounts: {matt: {accept_doors: [{id: GATE-DOOR-01, owner: "{0}", reason: "see [here](1) or }{1}{{2}", until: 2999-01-01}]}}
Y
chgrp ductile /etc/ductile/plugins.d/more.yaml && chmod 640 /etc/ductile/plugins.d/more.yaml
quoted() { sarif 0 gate check && grep -F 'accepted by {{0}}' "$WORK/document" && grep -F 'see [here] (1) or }}{{1}}{{{{2}}' "$WORK/document"; }
check "braces and brackets of others are not SARIF's" quoted
rm /etc/ductile/plugins.d/more.yaml
canonical() {
    gate -c //etc/./ductile/../ductile/config.yaml check --sarif >"$WORK/document" 2>/dev/null
    python3 "$SRC/tests/lib/sarif.py" <"$WORK/document" && grep -q '"file:///etc/ductile/config.yaml"' "$WORK/document"
}
check "a path that is not canonical becomes so" canonical

# ---- pictures ----------------------------------------------------------------------------------------------------------------
# picture CODE EDGES COMMAND...: an SVG whose edges are those of the results that the same run found. EDGES: kinds that must be there
cat >"$WORK/picture.py" <<'P'
import json, re, sys
import xml.etree.ElementTree as ET
path, matrix, kinds = sys.argv[1], json.load(open(sys.argv[2])), set(sys.argv[3].split(","))
text = open(path).read()
root, svg = ET.fromstring(text), "{http://www.w3.org/2000/svg}"
ids = {e.get("id"): e.text for e in root.iter() if e.get("id")}
assert root.tag == svg + "svg" and root.get("role") == "img" and root.get("viewBox")
assert all(ids[i] for i in root.get("aria-labelledby").split()) and root[0].tag == svg + "title" and root[1].tag == svg + "desc"
assert not [e for e in root.iter() if e.tag in (svg + "script", svg + "image", svg + "use", svg + "a", svg + "foreignObject")]
assert "@import" not in text and "url(" not in text and "href" not in text and not re.search(r"\son\w+=", text)
assert "prefers-color-scheme:dark" in text
left, right = float(root.get("viewBox").split()[2]), 0
edges = [(g.get("class").split()[1], g[0].text) for g in root.iter(svg + "g") if (g.get("class") or "").startswith("edge ") and g[0].tag == svg + "title"]
found = {k for k, _ in edges}
assert kinds <= found and (("breach" in kinds) == ("breach" in found)) and (("unproven" in kinds) == ("unproven" in found)), found
# The same from the results: who breached, and where something is unproven.
who = lambda kind: {t.split(" to ")[0] for k, t in edges if k == kind}
rows = matrix["matrix"]
breach = {m["identity"] for m in rows if (m["expected"], m["found"]) == ("denied", "allowed") or m["expected"] == "allowed" != m["found"]}
assert who("breach") == breach, (who("breach"), breach)
assert {m["identity"] for m in rows} == {t.split(" to ")[0] for _, t in edges}
for element in root.iter(svg + "text"):
    assert 0 <= float(element.get("x")) <= left
P
picture() {
    local code=$1 kinds=$2
    shift 2
    "$@" --json >"$WORK/matrix.json" 2>/dev/null
    exits "$code" "$@" --format svg >"$WORK/picture.svg" 2>/dev/null && python3 "$WORK/picture.py" "$WORK/picture.svg" "$WORK/matrix.json" "$kinds"
}
ABI=$(gate check -v | sed -n 's/.*Landlock ABI //p')
ABSENT=$([ "$ABI" -ge 6 ] || echo ,unproven) # what this kernel has no layer for is not shown as held
check "prove --format svg: no edge is red where the wall holds" picture 0 "denied,works,open$ABSENT" gate prove
check "check --format svg draws the short form" picture 0 denied,works,open gate check
check "a drop that keeps the capabilities turns edges red" picture 1 "denied,works,breach$ABSENT" broken $OPEN prove
red() { grep -o 'class="edge breach"><title>[^<]*' "$WORK/picture.svg" | grep -E 'default to root: ALLOWED, [0-9]+ of [0-9]+: [a-z0-9-]+'; }
check "the red edge says who reached what, and how" red
no_twin() { # nothing of /etc/passwd for one account: its controls fail
    setfacl -m u:ductile-default:--- /etc/passwd
    picture 0 "denied,works,unproven" gate prove
    local rc=$?
    setfacl -b /etc/passwd
    return $rc
}
check "an attempt whose control fails is dashed, not green" no_twin
mermaid() { # mermaid CODE RED COMMAND...
    local code=$1 red=$2
    shift 2
    exits "$code" "$@" --format mermaid >"$WORK/picture.mmd" 2>/dev/null || return 1
    python3 - "$WORK/picture.mmd" "$red" <<'P'
import re, sys
lines = open(sys.argv[1]).read().splitlines()
assert lines[0].startswith("%% ") and lines[1] == "flowchart LR"
edge = re.compile(r'  i\d+ (-->|--x|==>|-\.->)\|"[^"<>]+"\| a\d+$')
style = re.compile(r"  linkStyle (\d+) stroke:#[0-9a-f]{6}(,[a-z-]+:[0-9a-z ]+)?$")
node = re.compile(r'  (i\d+\(\["[^"]+"\]\)|a\d+\["[^"]+"\])$')
assert all(edge.match(l) or style.match(l) or node.match(l) for l in lines[2:]), lines
styles = [style.match(l) for l in lines if style.match(l)]
assert [int(s.group(1)) for s in styles] == list(range(len(styles))) and len(styles) == sum(bool(edge.match(l)) for l in lines) > 20
assert ("stroke:#d1242f" in "".join(lines)) == (sys.argv[2] == "red")
P
}
check "prove --format mermaid: one style per edge, none red" mermaid 0 green gate prove
check "a climbed wall's has red ones" mermaid 1 red broken $OPEN prove
text_too() { gate prove --format text 2>/dev/null | grep -E '^secret zero +denied, 1 of 1: dac +denied, 1 of 1: dac +denied, 1 of 1: dac' && exits 1 broken $OPEN prove --format text 2>/dev/null | grep -E '^root +ALLOWED, [0-9]+ of [0-9]+: [a-z0-9-]+'; }
check "prove --format text: the same by asset" text_too
untried() { # refused before anything was tried
    chmod 755 /var/lib/ductile/ledger
    exits 1 gate check --format svg >"$WORK/picture.svg" 2>/dev/null; local rc=$?
    chmod 700 /var/lib/ductile/ledger
    grep -q 'Nothing was tried' "$WORK/picture.svg" && python3 -c 'import sys, xml.etree.ElementTree as ET; ET.parse(sys.argv[1])' "$WORK/picture.svg" && [ $rc = 0 ]
}
check "what was not tried is not drawn" untried

# ---- the last two runs -------------------------------------------------------------------------------------------------------
differs() { # differs CODE TEXT...
    local code=$1 text
    shift
    exits "$code" gate diff >"$WORK/diff"; local rc=$?
    cat "$WORK/diff"
    for text in "$@"; do grep -qE "$text" "$WORK/diff" || { echo "no $text"; return 1; }; done
    return $rc
}
same() { gate check >/dev/null 2>&1; gate check >/dev/null 2>&1; differs 0 '^no finding is new, gone or changed$'; }
check "diff of two alike: nothing, and exit 0" same
in_group() { # in_group GROUP: at the end of its line
    sed -i "s/^\($1:.*[^:]\)$/\1,ductile-default/; s/^\($1:.*:\)$/\1ductile-default/" /etc/group
}
cp /etc/group "$WORK/group"
appears() { in_group docker; gate check >/dev/null 2>&1; differs 1 '^new +GATE-DOOR-01 refuse: default$' '  why:  .*ductile-default is in the group docker'; }
check "a door that opened is new" appears
changes() { cp "$WORK/group" /etc/group; groupadd -f -r kvm && in_group kvm; gate check >/dev/null 2>&1; differs 1 '^changed +GATE-DOOR-01 refuse: default$' '  was:  refuse, .*docker' '  why:  .*kvm'; }
check "another door of the same account is a change" changes
disappears() { cp "$WORK/group" /etc/group; gate check >/dev/null 2>&1; differs 1 '^gone +GATE-DOOR-01 refuse: default$'; }
check "closed again it is gone" disappears
forms() { gate prove >/dev/null 2>&1; differs 0 '^note .*tried different things'; }
check "check and prove are told apart" forms
hostile() { # what stands in the ledger is not obeyed by a terminal
    sqlite3 /var/lib/ductile/ledger/ductile.db "INSERT INTO gate_run(at_ms, verb, posture, outcome, checks, probes) VALUES(1, 'check', 'hybrid', 'warn', 1, 1);
        INSERT INTO gate_finding SELECT max(id), 'GATE-WALL-01', 'warn', 'x' || char(27) || '[31m', 'y' || char(10) || CAST(x'ff' AS TEXT) FROM gate_run"
    differs 1 '^new +GATE-WALL-01 warn: x\?\[31m$' && not grep -q $'\x1b' "$WORK/diff" && holds 1 gate diff --json
}
check "control bytes in a finding are not printed" hostile
check "diff by somebody else is refused" refuses 77 CONF-READ-01 as matt ductile-gate diff
root_too() { gate check >/dev/null 2>&1; gate check >/dev/null 2>&1; exits 0 /usr/local/bin/ductile-gate diff && [ -z "$(find /var/lib/ductile/ledger -user root)" ]; }
check "root becomes the ledger's owner, and leaves nothing of its own" root_too

# Who writes: a child without capabilities. The ledger is locked, so that it waits and can be looked at.
cat >"$WORK/writer.py" <<'P'
import glob, os, pwd, re, sqlite3, subprocess, sys, time
db = sqlite3.connect("/var/lib/ductile/ledger/ductile.db", isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
before = db.execute("SELECT count(*) FROM gate_run").fetchone()[0]
gate = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
bus, seen = pwd.getpwnam("ductile-bus").pw_uid, None
for _ in range(400):
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            if status != "/proc/%d/status" % os.getpid() and any(os.readlink(fd).endswith("/ductile.db") for fd in glob.glob(status[:-6] + "fd/*")):
                seen = dict(re.findall(r"^(\w+):[ \t]*(.*)$", open(status).read(), re.M))
        except OSError:
            pass
    if seen or gate.poll() is not None:
        break
    time.sleep(0.01)
db.execute("ROLLBACK")
gate.wait()
assert seen, "nobody opened the ledger"
print({k: seen[k] for k in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")})
wrong = [k for k in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(seen[k], 16)]
if set(seen["Uid"].split()) != {str(bus)} or seen["Groups"].strip():
    wrong.append("ids")
if db.execute("SELECT count(*) FROM gate_run").fetchone()[0] != before + 1:
    wrong.append("no row was written")
sys.exit(" ".join(wrong) or 0)
P
cat >"$WORK/shape" <<'S'
#!/bin/bash
# shape USER COMMAND...: what the unit gives, in the same process
user=$1
shift
exec env -i PATH="$PATH" LANG=C.UTF-8 ${NO_COLOR:+NO_COLOR=1} ${TERM:+TERM=$TERM} setpriv --reuid="$user" --regid="$user" --clear-groups \
    --inh-caps=+setuid,+setgid --ambient-caps=+setuid,+setgid --bounding-set=-all,+setuid,+setgid "$@"
S
chmod 755 "$WORK/shape"
GATE=("$WORK/shape" ductile /usr/local/bin/ductile-gate)
check "the ledger is written by a child without capabilities" python3 "$WORK/writer.py" "${GATE[@]}" check
with_caps() { python3 "$WORK/writer.py" bash -c '"$@" & wait' bash "$WORK/shape" ductile-bus sqlite3 -cmd ".timeout 5000" /var/lib/ductile/ledger/ductile.db \
    "INSERT INTO gate_run(at_ms, verb, posture, outcome, checks, probes) VALUES(2, 'check', 'hybrid', 'pass', 1, 1)" 2>"$WORK/said"; local rc=$?; cat "$WORK/said"; [ $rc = 1 ] && grep -qx 'CapInh CapPrm CapEff CapAmb' "$WORK/said"; }
check "control: one that kept them is seen" with_caps

# ---- interrupted, twice, piped, without colour ------------------------------------------------------------------------------
cat >"$WORK/interrupt.py" <<'P'
import glob, os, pwd, re, signal, subprocess, sys, time
accounts = {pwd.getpwnam(n).pw_uid for n in ("ductile", "ductile-bus", "ductile-default", "ductile-untrusted")}
def of_ours():
    found = {}
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            text = open(status).read()
        except OSError:
            continue
        uid = int(re.search(r"^Uid:\s+(\d+)", text, re.M).group(1))
        if uid in accounts and not re.search(r"^State:\s+Z", text, re.M):
            found[int(status.split("/")[2])] = uid
    return found
assert not of_ours(), of_ours()
account, interrupted = pwd.getpwnam("ductile-default").pw_uid, 0
# By a terminal, which tells the whole group; by kill, which tells the gate alone; and without a chance to do anything.
for kind, tell in 4 * ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGKILL, os.kill)):
    gate = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while gate.poll() is None and account not in of_ours().values(): # until its twins and attempts are about
        pass
    time.sleep(0.01)
    tell(gate.pid, kind)
    interrupted += gate.wait() == -kind
    for _ in range(100):
        if not of_ours():
            break
        time.sleep(0.1)
    assert not of_ours(), "left behind: %s" % of_ours()
print("interrupted", interrupted)
assert interrupted >= 6
P
check "interrupted: nothing is left behind" python3 "$WORK/interrupt.py" "${GATE[@]}" prove
runs() { ledger "SELECT count(*) FROM gate_run"; }
twice() {
    local before a b
    before=$(runs)
    gate prove >/dev/null 2>&1 & a=$!
    gate prove >/dev/null 2>&1 & b=$!
    wait $a && wait $b && [ "$(runs)" = $((before + 2)) ] && [ "$(ledger 'PRAGMA integrity_check')" = ok ]
}
check "two at a time: both decide, both rows are written" twice
piped() { local before; before=$(runs); { gate prove --json 2>/dev/null || :; } | head -c 100 | grep -q '^{"verb":"prove"' && [ "$(runs)" = $((before + 1)) ]; }
check "piped into what reads little: the row is there all the same" piped
full() { exits 74 gate list >/dev/full && exits 74 gate prove --sarif >/dev/full && exits 74 gate check --format svg >/dev/full && exits 74 gate diff >/dev/full; }
check "a full disk behind standard output is exit 74" full
full_refused() { exits 78 broken $OPEN check --boot --json >/dev/full; }
check "and never hides a refusal" full_refused
nothing() { exits 64 gate >"$WORK/said" && grep -q '^  explain ID ' "$WORK/said" && grep -q '^  diff ' "$WORK/said"; }
check "without a verb it lists them" nothing
plain() { # on a terminal or not, with NO_COLOR or without: the same bytes, and none that colours
    script -qec "$WORK/shape ductile /usr/local/bin/ductile-gate list" /dev/null </dev/null | tr -d '\r' >"$WORK/terminal"
    NO_COLOR=1 "${GATE[@]}" list >"$WORK/none" && gate list >"$WORK/piped" && cmp "$WORK/terminal" "$WORK/piped" && cmp "$WORK/none" "$WORK/piped" && not grep -q $'\x1b' "$WORK/terminal"
}
check "no colour where none is wanted" plain
anybody() { as matt ductile-gate list -q | grep -x secret-zero && as matt ductile explain docker | grep "told as GATE-DOOR-01"; }
check "list and explain are for anybody" anybody
quiet() { local out; out=$(gate prove --sarif 2>&1 >/dev/null); [ -z "$out" ] || { echo "$out"; return 1; }; }
check "beside a document nothing is said" quiet
