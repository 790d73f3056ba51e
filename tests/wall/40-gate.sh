#!/bin/bash
# The gate's own controls: a wall with a layer less must be seen to be climbed, row by row. Then each refusal and warning
# that no other case provokes.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
KEEPER=/opt/ductile/plugins/keeper
cp -R "$SRC/tests/wall/plugins/keeper" $KEEPER && chown -R root:root $KEEPER && chmod -R go-w,a+rX $KEEPER
put_config() { add_config "$1" && chgrp ductile "/etc/ductile/plugins.d/$1.yaml" && chmod 640 "/etc/ductile/plugins.d/$1.yaml"; }
echo 'plugins: {keeper: {run_as: untrusted}}' | put_config keeper
ductile-install -q apply >/dev/null 2>&1 && ductile plugin lock keeper >/dev/null || exit 1
rm -f /var/lib/ductile/ledger/* # what apply wrote down; a gate makes no ledger

gate() { as_service /usr/local/bin/ductile-gate "$@"; }
# shape USER COMMAND...: what the unit gives, without a service manager: for another user, and for what only a process
# and its children are to see (a filter, a mount)
cat >"$WORK/shape" <<'S'
#!/bin/bash
user=$1
shift
exec env -i PATH="$PATH" LANG=C.UTF-8 setpriv --reuid="$user" --regid=ductile --clear-groups --inh-caps=+setuid,+setgid \
    --ambient-caps=+setuid,+setgid --bounding-set=-all,+setuid,+setgid "$@"
S
chmod 755 "$WORK/shape"
shaped=("$WORK/shape" ductile /usr/local/bin/ductile-gate)
# without CALL COMMAND...: a kernel in which CALL fails
cat >"$WORK/without" <<'P'
import ctypes, errno, os, struct, sys
x86 = os.uname().machine == "x86_64"
nr, mask, error = {"landlock": (444, 0, errno.EOPNOTSUPP), "threads": (56 if x86 else 220, 0x10000, errno.EPERM)}[sys.argv[1]]
code = [(0x20, 0, 0, 0), (0x15, 0, 3 if mask else 1, nr)]              # ld nr; jeq
code += [(0x20, 0, 0, 16), (0x45, 0, 1, mask)] if mask else []         # ld arg 0; jset
code += [(0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7fff0000)]   # errno; allow
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
class Program(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("text", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
    sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
P
without() { python3 "$WORK/without" "$@"; }

# ---- controls: every row opens somewhere ---------------------------------------------------------------------------------
broken() { # broken LAYERS VERB...: the breakable gate without them
    local layers=$1
    shift
    as_service env DUCTILE_BREAK="$layers" "$BROKEN_BIN/ductile-gate" "$@"
}
# opened ROW...: in $WORK/matrix.json each row was allowed to every identity that tried it; ROW@WHO: to WHO
opened() {
    python3 - "$WORK/matrix.json" "$WORK/opened" "$@" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
rows = [m for m in d["matrix"] if m["expected"] == "denied"]
allowed = {(m["attempt"], m["identity"]) for m in rows if m["found"] in ("allowed", "absent")}  # absent: it opened, and this kernel has no layer against it
wrong = []
for want in sys.argv[3:]:
    row, _, who = want.partition("@")
    tried = {m["identity"] for m in rows if m["attempt"] == row and (not who or m["identity"] == who)}
    if not tried:
        wrong.append(row + " was not tried")
    wrong += ["%s is not open to %s" % (row, i) for i in tried if (row, i) not in allowed]
if d["outcome"] != "refuse" or not any(f["id"] == "GATE-WALL-01" and f["verdict"] == "refuse" for f in d["findings"]):
    wrong.append("outcome %s, without a refusal by GATE-WALL-01" % d["outcome"])
open(sys.argv[2], "a").writelines(r + "\n" for r, _ in allowed)
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
P
}
says() { # says CODE LAYERS VERB ROW...: exit code, and the rows
    local code=$1 layers=$2 verb=$3 rc
    shift 3
    broken "$layers" $verb --json >"$WORK/matrix.json"
    rc=$?
    [ $rc = "$code" ] || { echo "exit $rc"; return 1; }
    opened "$@"
}
control() { # control NAME LAYERS ROW...
    local name=$1 layers=$2
    shift 2
    check "control: $name: $(echo "$*" | tr ' ' ,) are seen open" says 1 "$layers" prove "$@"
}
walled() { # walled COMMAND...: every row as expected (what is not there yet: unproven), and its control succeeded
    "$@" --json >"$WORK/matrix.json" || { echo "exit $?"; return 1; }
    json '[m for m in d["matrix"] if not m["control"] or (m["expected"] not in ("either", m["found"]) and m["errno"] != "ENOENT" and (m["attempt"], m["found"]) not in '"$ABSENT"')]' <"$WORK/matrix.json" | tee "$WORK/odd"
    [ "$(cat "$WORK/odd")" = "[]" ]
}
: >"$WORK/opened"
# What Landlock holds from ABI 6 on only: below, the matrix says so.
ABI=$(as_service /usr/local/bin/ductile-gate check -v | sed -n 's/.*Landlock ABI //p')
ABSENT=$([ "$ABI" -ge 6 ] && echo '[]' || echo '[("signal-sibling", "absent")]')
check "the whole wall: prove passes, every row as expected, each with its control" walled gate prove
json '"\n".join(sorted({m["attempt"] for m in d["matrix"] if m["expected"] == "denied"}))' <"$WORK/matrix.json" >"$WORK/rows"
check "the breakable gate, unbroken, passes too" walled broken nothing prove
CLIMBED="become-root become-service become-bus setgroups userns-clone userns-unshare userns-clone3"
check "control: a drop that keeps the capabilities: check exits with 1, and the rows are ALLOWED" says 1 keepcaps,nofilter,noproof check $CLIMBED
check "control: at boot the same is 78" says 78 keepcaps,nofilter,noproof "check --boot" $CLIMBED
printed() { local row; broken keepcaps,nofilter,noproof prove >"$WORK/text" 2>&1; cat "$WORK/text"; for row in $CLIMBED; do grep -qE "^$row .*ALLOWED .*ALLOWED .*ALLOWED" "$WORK/text" || return 1; done
    grep -q 'refused GATE-WALL-01: the wall was climbed: default' "$WORK/text" && grep -q 'why: ALLOWED: setresuid to 0 root' "$WORK/text"; }
check "control: and prove prints ALLOWED in each column" printed
unproved() { local out rc; out=$(broken keepcaps,nofilter check --boot 2>&1); rc=$?; echo "$out"; [ $rc = 78 ] && grep -q 'refused GATE-STATE-02: .*default' <<<"$out" && grep -q 'why: the drop failed at stage readback' <<<"$out" && ! grep -q 'GATE-WALL-01' <<<"$out"; }
check "with its read-back the drop refuses by itself what it could not take away" unproved
control "a drop that keeps the capabilities" keepcaps,nofilter,noproof $CLIMBED become-account raise-caps
control "no Landlock domain" nolandlock,noproof ptrace-sibling proc-sibling signal-sibling
control "no filter" nofilter,noproof userns-clone userns-unshare userns-clone3
control "no no_new_privs" nonnp,noproof setuid-program exec-sudo
control "a drop that keeps descriptors" keepfds,noproof inherited-fd
control "a drop that keeps the groups" keepgroups,noproof config home-code
control "a drop that changes no uid" nouid,noproof,nonnp secret-zero vault config home-code become-service signal-warden
control "a drop to the bus" asbus,noproof,nonnp become-bus signal-bus
control "a drop to root" asroot,noproof,nonnp become-root list-floor list-accounts config write-code write-units write-cron write-path

# What only the host can open: modes.
with() { # with CHANGE UNDO COMMAND...
    local undo=$2 rc
    bash -c "$1" || { echo "the change failed"; return 1; }
    shift 2
    "$@"
    rc=$?
    bash -c "$undo" || { echo "it was not undone"; return 1; }
    return $rc
}
proves_open() { local rc; gate prove --json >"$WORK/matrix.json"; rc=$?; [ $rc = 1 ] && opened "$@"; }
check "control: a state_dir open to all: sibling-state is seen open" \
    with "chmod 755 /var/lib/ductile/accounts/untrusted" "chmod 700 /var/lib/ductile/accounts/untrusted" proves_open sibling-state@default sibling-state@matt
getfacl -pR /home/matt >"$WORK/home.acl"
MEND="setfacl --restore=$WORK/home.acl"
check "control: credentials open to all: operator-ssh, operator-gh, operator-creds, home-code are seen open" \
    with "install -o matt -m 644 /dev/null /home/matt/.netrc; chmod 755 /home/matt /home/matt/.ssh /home/matt/.config /home/matt/.config/gh; setfacl -m o::rx /home/matt /home/matt/ductile /home/matt/ductile/plugins" "$MEND; rm /home/matt/.netrc" \
    proves_open operator-ssh operator-gh operator-creds home-code

# The gateway itself, dumpable, instead of twins: the two halves, the ledger, the socket.
gateway() { BREAK=dumpable,nonnp,noproof start_gateway; }
check "a gateway that can be read starts" gateway
WARDEN_ROWS="api-socket signal-warden ptrace-warden readv-warden getfd-warden proc-warden service-environ"
BUS_ROWS="ledger signal-bus ptrace-bus readv-bus getfd-bus proc-bus"
control "a drop that changes no uid, beside it" nouid,keepcaps,dumpable,noproof,nonnp $WARDEN_ROWS
control "a drop to the bus, beside it" asbus,keepcaps,dumpable,noproof,nonnp $BUS_ROWS
check "the whole wall, beside it: denied all the same" walled gate prove
stop_gateway

unopened() { diff <(sort -u "$WORK/opened" | comm -13 - "$WORK/rows") - </dev/null; }
check "every row of the matrix was seen open by one of these" unopened
rm -f /var/lib/ductile/ledger/*

# Rows that must work, where they do not. broken_row ROW WHO ERRNO COMMAND...
broken_row() {
    local row=$1 who=$2 errno=$3
    shift 3
    "$@" prove --json >"$WORK/matrix.json"
    json '[(m["attempt"], m["identity"], m["errno"]) for m in d["matrix"] if m["expected"] == "allowed" and m["found"] != "allowed"]' <"$WORK/matrix.json" | tee /dev/stderr | grep -F >/dev/null "('$row', '$who', '$errno')" &&
        json '[f["id"] for f in d["findings"] if f["verdict"] == "refuse" and f["subject"] == "'"$who"'"]' <"$WORK/matrix.json" | grep >/dev/null GATE-WORKS-01
}
check "control: write-state is seen broken" broken_row write-state default EACCES broken nouid,noproof,nonnp
check "control: read-home is seen broken" broken_row read-home matt EACCES broken nouid,noproof,nonnp
check "control: run-shell is seen broken" with "setfacl -m u:ductile-default:--- \$(realpath /bin/sh)" "setfacl -b \$(realpath /bin/sh)" broken_row run-shell default ENOEXEC gate
check "control: thread is seen broken" broken_row thread default EPERM without threads "${shaped[@]}"

# ---- refusals and warnings -----------------------------------------------------------------------------------------------------
ledger_dir() { find /var/lib/ductile/ledger -printf '%p %i %m %U:%G %s %T@ %C@\n' | sort; find /var/lib/ductile/ledger -type f -exec sha256sum {} +; }
# told WORD ID SUBJECT WHY: three lines in $WORK/said
told() {
    cat "$WORK/said"
    grep -A2 -E "$1 $2: .*: $3" "$WORK/said" >"$WORK/told" || { echo "no $1 $2 about $3"; return 1; }
    grep -qE "  why: .*$4" "$WORK/told" || { echo "why is not $4"; return 1; }
    grep -qE '  do:  .+' "$WORK/told" || { echo "it does not say what to do"; return 1; }
}
# refusing ID SUBJECT WHY COMMAND...: the gate, started by COMMAND, refuses: 78 at boot, 1 by hand; the ledger's directory stays as it is
refusing() {
    local id=$1 subject=$2 why=$3 rc before
    shift 3
    before=$(ledger_dir)
    "$@" check --boot >"$WORK/said" 2>&1
    rc=$?
    told refused "$id" "$subject" "$why" || return 1
    [ $rc = 78 ] || { echo "exit $rc"; return 1; }
    diff <(echo "$before") <(ledger_dir) || { echo "the ledger's directory was touched"; return 1; }
    "$@" check -q >/dev/null 2>&1
    rc=$?
    [ $rc = 1 ] || { echo "by hand: exit $rc"; return 1; }
}
# warning WORD ID SUBJECT WHY COMMAND...: it tells, and lets the gateway start
warning() {
    local word=$1 id=$2 subject=$3 why=$4 rc
    shift 4
    "$@" check --boot >"$WORK/said" 2>&1
    rc=$?
    told "$word" "$id" "$subject" "$why" || return 1
    [ $rc = 0 ] || { echo "exit $rc"; return 1; }
}
# silent ID COMMAND...: nothing of it, and the gateway may start
silent() { local id=$1 rc; shift; "$@" check --boot >"$WORK/said" 2>&1; rc=$?; cat "$WORK/said"; [ $rc = 0 ] && ! grep -q "$id" "$WORK/said"; }
# change NAME ID CHANGE UNDO COMMAND...: told with the change, and only then
change() {
    local name=$1 id=$2 change=$3 undo=$4
    shift 4
    only_then() { silent "$id" gate && with "$change" "$undo" "$@" && silent "$id" gate; }
    check "$id: $name" only_then "$@"
}
refusal() { local name=$1 id=$2 change=$3 undo=$4; shift 4; change "$name" "$id" "$change" "$undo" refusing "$id" "$@" gate; }

as_somebody() { refusing GATE-USER-01 ductile "this is uid $(id -u matt), and ductile has uid $(id -u ductile)" "$WORK/shape" matt /usr/local/bin/ductile-gate; }
check "GATE-USER-01: started as another user, even with both capabilities, it is refused" as_somebody
check "GATE-USER-01: started as the service user it is not" silent GATE-USER-01 "${shaped[@]}"
check "GATE-KERNEL-01: a kernel without Landlock is refused" refusing GATE-KERNEL-01 kernel 'Landlock ABI (-?[0-9]+)$' without landlock "${shaped[@]}"
check "GATE-KERNEL-01: the same start with Landlock is not" silent GATE-KERNEL-01 "${shaped[@]}"
# Never the host's own sysctl: a file of our own lies over it, in a mount namespace that ends with the command.
elsewhere() { local change=$1; shift; unshare --mount --propagation private bash -c "$change"' && exec "$@"' bash "${shaped[@]}" "$@"; }
for value in 0 1 2; do echo $value >"$WORK/suid_dumpable.$value"; done
chmod 755 "$WORK"
over_sysctl() { echo "mount --bind $WORK/suid_dumpable.$1 /proc/sys/fs/suid_dumpable"; }
check "GATE-KERNEL-02: fs.suid_dumpable that is 1 is refused" refusing GATE-KERNEL-02 fs.suid_dumpable 'it is "1"' elsewhere "$(over_sysctl 1)"
check "GATE-KERNEL-02: that is 0 is not" silent GATE-KERNEL-02 elsewhere "$(over_sysctl 0)"
check "GATE-KERNEL-02: that is 2 is not" silent GATE-KERNEL-02 elsewhere "$(over_sysctl 2)"
check "GATE-KERNEL-03: a /proc that hides is refused" refusing GATE-KERNEL-03 /proc 'mounted with hidepid=' elsewhere "mount -t proc -o hidepid=2 proc /proc"
check "GATE-KERNEL-03: another /proc that does not is not" silent GATE-KERNEL-03 elsewhere "mount -t proc -o hidepid=0 proc /proc"

refusal "a state_dir that its account cannot reach" GATE-STATE-02 "setfacl -m u:ductile-default:--- /var/lib" "setfacl -b /var/lib" \
    default 'the drop failed at stage cwd: /var/lib/ductile/accounts/default \(EACCES\)'
refusal "a home that is somebody else's" GATE-HOME-01 "chown 1001 /home/matt" "chown matt /home/matt" /home/matt 'owned by another'
refusal "a home that is gone" GATE-HOME-01 "mv /home/matt /home/away" "mv /home/away /home/matt" /home/matt 'No such file'
refusal "a home that is a file" GATE-HOME-01 "mv /home/matt /home/away; touch /home/matt; chown matt /home/matt" "rm /home/matt; mv /home/away /home/matt" /home/matt 'not a directory'
refusal "a home that is a symbolic link" GATE-HOME-01 "mv /home/matt /home/away; ln -s away /home/matt" "rm /home/matt; mv /home/away /home/matt" /home/matt 'not a directory'
change "the mask of the home's ACL that takes the code away is named" GATE-HOME-02 "chmod 700 /home/matt" "$MEND" \
    warning warn GATE-HOME-02 /home/matt/ductile/plugins '/home/matt keeps the service out: the ACL has its entry, and the mask takes it away' gate
change "a home without an entry for the service is named" GATE-HOME-02 "setfacl -x g:ductile /home/matt/ductile" "$MEND" \
    warning warn GATE-HOME-02 /home/matt/ductile/plugins '/home/matt/ductile keeps the service out: no ACL entry for its group' gate
for creds in .ssh .config/gh .netrc .aws .gnupg; do
    path=/home/matt/$creds
    refusal "credentials that the service can read: $creds" GATE-HOME-03 \
        "chmod 755 /home/matt/.config; if [ $creds = .netrc ]; then touch $path; else mkdir -p $path; fi; chown matt $path; chmod 755 $path" \
        "case $creds in .ssh|.config/gh) chmod 700 $path;; *) rm -r $path;; esac; chmod 700 /home/matt/.config" "$path" "uid $(id -u ductile) opened it"
done

# Login-equivalents: what is started there is outside of the drop. Told, in one line, as far as it is open.
check "GATE-DOOR-02: what a credentialed account may start outside of the drop is told in one line" \
    warning warn GATE-DOOR-02 matt 'open to a plugin: authorized-keys, shell-rc, user-units$' gate
CLOSE="touch /home/matt/.profile; chown root /home/matt/.profile /home/matt/.ssh /home/matt/.config; chmod 644 /home/matt/.profile; chmod 700 /home/matt/.ssh"
REOPEN="rm /home/matt/.profile; chown matt /home/matt/.ssh /home/matt/.config; chmod 700 /home/matt/.ssh"
check "GATE-DOOR-02: closed, it is not told" with "$CLOSE" "$REOPEN" silent GATE-DOOR-02 gate
manager() { # a service manager that listens, as a login or linger has one
    local dir pid rc
    dir=/run/user/$(id -u matt)
    mkdir -p "$dir/systemd" && chown -R matt "$dir"
    # Not `as`, and no stdout of ours: who kills the shell between leaves python, and check waits for its end.
    setpriv --reuid=matt --regid=matt --init-groups python3 -c 'import socket, sys, time
s = [socket.socket(socket.AF_UNIX) for _ in sys.argv[1:]]
for x, p in zip(s, sys.argv[1:]): x.bind(p); x.listen()
time.sleep(60)' "$dir/bus" "$dir/systemd/private" >/dev/null &
    pid=$!
    for _ in $(seq 40); do [ -S "$dir/systemd/private" ] && break; sleep 0.05; done
    warning warn GATE-DOOR-02 matt 'open to a plugin: user-manager, user-bus, authorized-keys, shell-rc, user-units$' gate
    rc=$?
    kill $pid; rm -rf "$dir"
    return $rc
}
check "GATE-DOOR-02: a service manager of the user that listens is named" manager

configured() { printf "%s\n" "$2" | put_config "$1"; }
export -f configured put_config add_config
added() { printf 'configured more %q' "$1"; } # as a CHANGE
GONE="rm /etc/ductile/plugins.d/more.yaml"
NEVER_LOCKED="plugins: {never_locked: {run_as: default}}"
change "an enabled plugin without a lock is told" GATE-LOCK-01 "$(added "$NEVER_LOCKED")" "$GONE" warning warn GATE-LOCK-01 never_locked 'plugins.lock has no entry' gate
refusal "with fail_on_unlocked it is refused" GATE-LOCK-01 "$(added "service: {admission: {fail_on_unlocked: true}}
$NEVER_LOCKED")" "$GONE" never_locked 'plugins.lock has no entry'
change "one that is not enabled is not" GATE-LOCK-01 "$(added "service: {admission: {fail_on_unlocked: true}}
plugins: {never_locked: {run_as: default, enabled: false}}")" "$GONE" silent GATE-LOCK-01 gate
change "a plugin that needs a secret and shares its account is told" GATE-SHARE-01 "$(added "plugins: {keeper: {run_as: default}}")" "$GONE" \
    warning warn GATE-SHARE-01 keeper 'account default also runs unruly' gate
TAINTED="pipelines: [{name: handed-over, on: some.event, steps: [{id: act, uses: unruly_matt, accepts_untrusted: false}]}]"
change "an untrusted payload that can reach a credentialed step is told" GATE-TAINT-01 "$(added "$TAINTED")" "$GONE" \
    warning warn GATE-TAINT-01 handed-over 'step act runs unruly_matt as matt' gate
change "a step that accepts it is not" GATE-TAINT-01 "$(added "${TAINTED/: false/: true}")" "$GONE" silent GATE-TAINT-01 gate
change "an event that only a credentialed plugin emits is not" GATE-TAINT-01 "$(added "${TAINTED/on: some.event/on: some.event, from_plugin: unruly_matt}")" "$GONE" silent GATE-TAINT-01 gate
change "an event that only a confined plugin emits is told" GATE-TAINT-01 "$(added "${TAINTED/on: some.event/on: some.event, from_plugin: unruly}")" "$GONE" \
    warning warn GATE-TAINT-01 handed-over 'step act runs unruly_matt as matt' gate

# A probe whose twin fails too proves nothing. It is told; under `strict` it refuses.
ASK="ductile-install -q apply; rm -f /var/lib/ductile/ledger/*" # passwd decides doors: root is to ask again
NO_PASSWD="setfacl -m u:ductile-default:--- /etc/passwd; $ASK"
PASSWD="setfacl -b /etc/passwd; $ASK"
change "a probe whose control fails is told" GATE-WALL-02 "$NO_PASSWD" "$PASSWD" \
    warning unproven GATE-WALL-02 default 'open secret zero /etc/ductile/secret/age.key: EACCES, but so was the twin' gate
STRICT="service: {admission: {fail_on_sidedoor: strict}}"
change "strict alone refuses nothing" GATE-WALL-02 "$(added "$STRICT")" "$GONE" silent GATE-WALL-02 gate
strict() { # its verdict stays unproven; what changes is the outcome
    local rc
    with "$NO_PASSWD; $(added "$STRICT")" "$PASSWD; $GONE" bash -c "$(declare -f as_service); before=\$(find /var/lib/ductile/ledger -printf '%p %T@ %C@'); as_service /usr/local/bin/ductile-gate check --boot >$WORK/said 2>&1; rc=\$?; [ \"\$before\" = \"\$(find /var/lib/ductile/ledger -printf '%p %T@ %C@')\" ] || exit 1; exit \$rc"
    rc=$?
    told unproven GATE-WALL-02 default 'but so was the twin' && [ $rc = 78 ]
}
check "GATE-WALL-02: under strict it refuses the boot" strict
refusal "a plugin that cannot write in /tmp" GATE-WORKS-01 "chmod 755 /tmp" "chmod 1777 /tmp" default 'write in /tmp: /tmp \(EACCES\)'
check "after all that the gateway starts behind its gate" start_gateway
stop_gateway
