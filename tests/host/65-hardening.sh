#!/bin/bash
# The unit's hardening, directive by directive: what it takes is gone from a credentialed plugin, and it is this directive
# that takes it - the same attempt in a unit with nothing else; the contract (git over ssh, python, node) still holds.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
echo 'plugins: {hardened: {run_as: matt, retry: {max_attempts: 1}}}' >/etc/ductile/plugins.d/hardened.yaml
ductile-install -q apply >/dev/null 2>&1
ductile plugin add "$SRC/tests/host/plugins/hardened" >/dev/null && ductile plugin lock hardened >/dev/null || exit 1

# What there is to take: a setuid program, modules, a writable directory below /usr, devices.
cp /usr/bin/id /opt/wall/setuid-id && chmod 4755 /opt/wall/setuid-id
install -d -o matt /usr/local/doored
mknod -m 666 /dev/ductile-door c 1 3
mkdir -p /usr/lib/modules
[ -e /dev/kmsg ] || mknod /dev/kmsg c 1 3 # no pipe: generators write to it, and would wait
chmod 666 /dev/kmsg
MNT=$(readlink /proc/self/ns/mnt)

# A server for the deploy key.
useradd -m -p '*' forge
as forge git init -q --bare --initial-branch=main /home/forge/repo.git
as forge bash -c 'cd && git clone -q repo.git seed 2>/dev/null && cd seed && git -c user.name=Seed -c user.email=s@example.org commit -q --allow-empty -m seed && git push -q origin HEAD:main'
as matt ssh-keygen -q -t ed25519 -N '' -f /home/matt/.ssh/deploy
install -d -o forge -m 700 /home/forge/.ssh && install -o forge -m 600 /home/matt/.ssh/deploy.pub /home/forge/.ssh/authorized_keys
mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f "$WORK/host_key"
systemd-run -q --unit=forge-sshd /usr/sbin/sshd -D -e -f /dev/null -h "$WORK/host_key" -p 2222 -o ListenAddress=127.0.0.1 -o UsePAM=no
for _ in $(seq 100); do ssh-keyscan -p 2222 127.0.0.1 >"$WORK/known" 2>/dev/null && [ -s "$WORK/known" ] && break; sleep 0.1; done
install -o matt -m 600 "$WORK/known" /home/matt/.ssh/known_hosts

# ---- the contract -----------------------------------------------------------------------------------------------------
work() { ductile job run --json hardened handle >"$WORK/work.json"; json 'd.get("result")' <"$WORK/work.json"; }
did() { python3 -c 'import json,sys; w=str(json.load(open(sys.argv[1]))["result"][sys.argv[2]]); print(w); sys.exit(0 if w == sys.argv[3] else 1)' "$WORK/work.json" "$1" "$2"; }
check "the gateway starts, with its unit as it was rendered" start_gateway
work >/dev/null
check "git clones, commits and pushes over ssh with a deploy key" did "git over ssh" "Operator by a plugin"
pushed() { as forge git --git-dir /home/forge/repo.git log -1 --format='%an %s' main | tee /dev/stderr | grep -qx 'Operator by a plugin'; }
check "the push is there" pushed
check "python: a pool of processes and a semaphore in /dev/shm" did pool 285
check "a shell with pipes, /dev/stderr and /tmp" did shell 42
check "node compiles at run time, JavaScript and WebAssembly" did node "$(node -e "$(sed -n '/^JIT = """/,/^"""/p' "$SRC/tests/host/plugins/hardened/hardened.py" | sed '1d;$d')")"
ductile job run --json hardened poll --payload "{\"mnt\": \"$MNT\"}" >"$WORK/took.json"
stop_gateway

# ---- directive by directive -----------------------------------------------------------------------------------------------
sed -n '/^\[Service\]/,/^\[Install\]/p' /etc/systemd/system/ductile.service | grep -vE '^(\[|$|(Type|NotifyAccess|User|Group|AmbientCapabilities|CapabilityBoundingSet|Delegate|ExecStartPre|ExecStart|KillMode|TimeoutStopSec|Restart)=)' >"$WORK/directives"
: >"$WORK/known"
alone() { systemd-run -q --wait --pipe "${@:2}" /opt/ductile/plugins/hardened/hardened.py "$1" "$MNT" 2>&1; }
# directive NAME=VALUE WITHOUT WITH PLUGIN PROPERTY... [-- WHY]: what the attempt gets in a unit of these properties, in the
# same with the directive, and in a plugin. WHY: a plugin would not have it anyway (the directive is the belt).
directive() {
    local name=${1%%=*} without=$2 with=$3 plugin=$4 got
    echo "$1" >>"$WORK/known"
    local properties=("-p" "LogLevelMax=debug")
    shift 4
    while [ $# -gt 0 ] && [ "$1" != -- ]; do properties+=(-p "$1"); shift; done
    got="$(alone "$name" "${properties[@]}") $(alone "$name" "${properties[@]}" -p "$(grep "^$name=" "$WORK/known")") $(json "d['result']['$name']" <"$WORK/took.json")"
    echo "without, with, in a plugin: $got; wanted: $without $with $plugin"
    [ "$got" = "$without $with $plugin" ]
}
row() { # row DIRECTIVE ARGUMENTS
    local belt
    belt=$(sed -n 's/.* -- /belt: /p' <<<" $*")
    check "$1: ${belt:-it is what keeps it from plugins}" directive "$@"
}
row NoNewPrivileges=yes allowed EPERM EPERM User=matt -- the drop asserts it too
row RestrictNamespaces=yes allowed EPERM EPERM User=matt -- the filter of the warden refuses it first
row ProtectSystem=full allowed EROFS EROFS User=matt
row PrivateDevices=yes allowed ENOENT ENOENT User=matt
row ProtectKernelTunables=yes allowed EROFS EROFS User=matt
row ProtectKernelModules=yes allowed EACCES EACCES User=matt
row ProtectKernelLogs=yes allowed EACCES ENOENT User=matt
row ProtectClock=yes allowed EPERM EPERM User=matt
row ProtectHostname=yes allowed EPERM EPERM -- no capability for it
row LockPersonality=yes allowed EPERM EPERM User=matt
row RestrictRealtime=yes EINVAL EPERM EPERM User=matt
row PrivateMounts=yes allowed EPERM EPERM User=matt
row UMask=0077 allowed EPERM EPERM User=matt -- the drop sets it too
row LimitCORE=0 allowed EPERM EPERM User=matt -- the drop sets it too
row LimitMEMLOCK=64M EPERM allowed allowed User=matt LimitMEMLOCK=4M -- it is for the warden, the drop sets a plugin its own
all_known() { diff <(sort "$WORK/directives") <(sort "$WORK/known"); }
check "every directive of the unit has its row here, and every row is in the unit" all_known
listed() { diff <(sed -n 's/^HARDENING("\([^"]*\)", "\([^"]*\)".*/\1=\2/p' "$SRC/share/systemd/hardening.def" | sort) <(sort "$WORK/known"); }
check "and so has every row of the table" listed

# ---- control: a directive that is not there, and why ----------------------------------------------------------------------
mkdir -p /run/systemd/system/ductile.service.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/run/systemd/system/ductile.service.d/t.conf
broken() { systemctl daemon-reload && systemctl start ductile && rm "$WORK/work.json" && work && json 'd["result"]["node"]' <"$WORK/work.json" | grep -q '^failed: node'; }
check "control: with MemoryDenyWriteExecute= node breaks, and this test sees it" broken
rm -r /run/systemd/system/ductile.service.d
systemctl daemon-reload
stop_gateway
