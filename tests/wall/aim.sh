#!/bin/bash
# make attacks: aims the catalogue at other programs that drop to a user, and at ours, on the same host in the same minute;
# writes share/doc/attacks.md. Each is started as its own documentation shows it, by who may start it (root; the naive unit:
# the service with its two ambient capabilities), with the same litter lying about.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/attacks.sh"
ACCOUNT=ductile-default
STATE=/var/lib/ductile/accounts/default
declare -A dropper=(
    [setpriv]="setpriv --reuid=$ACCOUNT --regid=$ACCOUNT --clear-groups --no-new-privs"
    [s6-setuidgid]="s6-setuidgid $ACCOUNT"
    [gosu]="gosu $ACCOUNT"
    [sudo]="sudo -n -u $ACCOUNT"
    [doas]="doas -n -u $ACCOUNT"
    [bwrap]="setpriv --reuid=$ACCOUNT --regid=$ACCOUNT --clear-groups bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --bind $STATE $STATE --chdir $STATE --unshare-all --share-net --new-session --die-with-parent --clearenv --setenv PATH $PATH"
)
for program in setpriv s6-setuidgid gosu sudo doas bwrap; do
    command -v $program >/dev/null || { echo "aim: $program is not installed (make deps-bench)" >&2; exit 1; }
done
attack_lab hybrid || exit 1
echo 'root ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/aim
echo 'permit nopass root' >/etc/doas.conf && chmod 400 /etc/doas.conf
ductile plugin add "$SRC/tests/wall/plugins/bomb" >/dev/null && ductile plugin lock bomb >/dev/null
printf 'plugins: {bomb: {run_as: default, retry: {max_attempts: 1}}}\n' | add_config bomb && ductile-install -q apply >/dev/null 2>&1
start_gateway || exit 1

# behave WORLD PLUGIN MODE...: what only its consequences show, as rows of WORLD. Ours runs it as a job; others by hand.
request() { printf '{"job_id": 1, "payload": %s, "config": {}, "secrets": {}}' "$1"; }
row() { printf '{"row": "%s", "found": "%s", "errno": "", "detail": "%s"}\n' "$2" "$3" "$4" >>"$WORK/attacks/$1.rows"; }
survives() { # survives WORLD ROW TAG
    sleep 0.5
    if left "$3"; then row "$1" "$2" allowed "$(pgrep -fc "ductile-test-left-$3") processes live on"; else row "$1" "$2" denied "nothing lives on"; fi
    pkill -KILL -f "ductile-test-left-$3"
}
took() { # took WORLD ROW JSON KEY LIMIT
    local n
    n=$(python3 -c 'import json, sys; d = json.loads(sys.argv[1] or "{}"); print((d.get("result") or {}).get(sys.argv[2], -1))' "$3" "$4")
    if [ "$n" = "$5" ]; then row "$1" "$2" allowed "took all $5 it asked for"; else row "$1" "$2" denied "stopped at $n of $5"; fi
}
consequences() { # consequences WORLD COMMAND...
    local world=$1 out
    shift
    out=$(request '{"mode": "leave", "tag": "aim"}' | "$@" /opt/ductile/plugins/unruly/unruly.py 2>/dev/null)
    survives "$world" setsid-daemon aim
    request '{"mode": "stubborn", "tag": "aim"}' >"$WORK/stubborn"
    timeout -k 1 2 "$@" /opt/ductile/plugins/unruly/unruly.py <"$WORK/stubborn" >/dev/null 2>&1 || :
    survives "$world" ignore-SIGTERM aim
    out=$(request '{"mode": "forks", "n": 5000}' | (ulimit -u unlimited; "$@" /opt/ductile/plugins/bomb/bomb.py) 2>/dev/null)
    took "$world" fork-bomb "$out" started 5000
    out=$(request '{"mode": "memory", "mib": 1500}' | "$@" /opt/ductile/plugins/bomb/bomb.py 2>/dev/null)
    took "$world" memory-bomb "$out" mib 1500
}
ours() {
    ductile job run --json unruly handle --payload '{"mode": "leave", "tag": "aim"}' >/dev/null 2>&1
    survives walled setsid-daemon aim
    ductile job run --json unruly poll --payload '{"mode": "stubborn", "tag": "aim"}' >/dev/null 2>&1
    survives walled ignore-SIGTERM aim
    took walled fork-bomb "$(ductile job run --json bomb poll --payload '{"mode": "forks", "n": 5000}')" started 5000
    took walled memory-bomb "$(ductile job run --json bomb poll --payload '{"mode": "memory", "mib": 1500}')" mib 1500
}
cat >/etc/ductile/plugins.d/lab.yaml <<'Y'
plugins: {unruly: {run_as: default, retry: {max_attempts: 1}, timeouts: {poll: 2s, handle: 20s}}}
Y
stop_gateway; ductile-install -q apply >/dev/null 2>&1; start_gateway || exit 1
attack walled default
ours
for name in "${!dropper[@]}"; do
    echo "aiming at $name"
    by_hand "$name" default "$LITTERED" ${dropper[$name]}
    consequences "$name" ${dropper[$name]}
done
echo "aiming at a plain setuid from a unit with the two ambient capabilities"
{ # a file: timeout runs no function
    echo '#!/bin/bash'
    declare -f as_service
    echo "as_service '$LITTERED' setpriv --reuid=$ACCOUNT --regid=$ACCOUNT --clear-groups \"\$@\""
} >"$WORK/naive"
chmod 755 "$WORK/naive"
by_hand naive default "$WORK/naive"
consequences naive "$WORK/naive"
stop_gateway
SETPRIV=$(setpriv --version 2>&1 | sed 's/.* //') SUDO=$(sudo --version | sed -n '1s/.* //p') BWRAP=$(bwrap --version | sed 's/.* //')
"$SRC/tests/wall/attacks.py" compare "$WORK/attacks" "Linux $(uname -r), util-linux $SETPRIV, sudo $SUDO, bubblewrap $BWRAP, $(date +%F)" >"$SRC/share/doc/attacks.md.new" && mv "$SRC/share/doc/attacks.md.new" "$SRC/share/doc/attacks.md" &&
    sed -n '/^|/p' "$SRC/share/doc/attacks.md" | tail -n +3 | awk -F'|' '{ for (i = 3; i < NF; i++) if ($i ~ /BROKEN/) n[i]++ } END { printf "broken:"; for (i = 3; i < NF; i++) printf " %d", n[i]; print "" }'
