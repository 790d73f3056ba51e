#!/bin/bash
# The unit's hardening, directive by directive: what it takes is gone from a credentialed plugin, and it is this directive
# that takes it - the same attempt in a unit with nothing else; the contract (git over ssh, python, node) still holds.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
echo 'plugins: {hardened: {run_as: matt, retry: {max_attempts: 1}}}' >/etc/ductile/plugins.d/hardened.yaml
ductile-install -q apply >/dev/null 2>&1
ductile plugin add "$SRC/tests/host/plugins/hardened" >/dev/null && ductile plugin lock hardened >/dev/null || exit 1

grep -qs localhost /etc/hosts || echo '127.0.0.1 localhost' >>/etc/hosts # debootstrap leaves none
# What there is to take: a setuid program, modules, a writable directory below /usr, devices.
cp /usr/bin/id /opt/wall/setuid-id && chmod 4755 /opt/wall/setuid-id
install -d -o matt /usr/local/doored
mknod -m 666 /dev/ductile-door c 1 3
mkdir -p /usr/lib/modules
[ -e /dev/kmsg ] || mknod /dev/kmsg c 1 3 # no pipe: generators write to it, and would wait
chmod 666 /dev/kmsg
mkdir /sys/fs/cgroup/ductile-door && chown matt /sys/fs/cgroup/ductile-door # as a login manager gives one to its user
mount -o remount,bind,rw /proc/sys # as it is outside of a container
install -d -m 1777 /home/ductile-door && : >/tmp/ductile-door
install -m755 "$SRC/build-wall/foreign" /opt/wall/foreign
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
check "names are looked up" did names 127.0.0.1
check "python: a pool of processes and a semaphore in /dev/shm" did pool 285
check "a shell with pipes, /dev/stderr and /tmp" did shell 42
check "node compiles at run time, JavaScript and WebAssembly" did node "$(node -e "$(sed -n '/^JIT = """/,/^"""/p' "$SRC/tests/host/plugins/hardened/hardened.py" | sed '1d;$d')")"
ductile job run --json hardened poll --payload "{\"mnt\": \"$MNT\"}" >"$WORK/took.json"
stop_gateway

# ---- directive by directive -----------------------------------------------------------------------------------------------
sed -n 's/^HARDENING("\([^"]*\)", "\([^"]*\)", \([A-Z]*\),.*/\3 \1=\2/p' "$SRC/share/systemd/hardening.def" >"$WORK/table"
: >"$WORK/known"
alone() { systemd-run -q --unit=ductile-alone --wait --pipe "${@:2}" /opt/ductile/plugins/hardened/hardened.py "$1" "$MNT" 2>&1; }
# directive NAME=VALUE WITHOUT WITH PLUGIN PROPERTY... [-- WHY]: what the attempt gets in a unit of these properties, in the
# same with the directive, and in a plugin. WHY: a plugin would not have it anyway (the directive is the belt).
# ATTEMPT: its name, where it is not the directive's.
directive() {
    local name=${ATTEMPT:-${1%%=*}} with_it=${1//%n/ductile-alone.service} without=$2 with=$3 plugin=$4 got
    echo "$1" >>"$WORK/known"
    local properties=("-p" "LogLevelMax=debug")
    shift 4
    while [ $# -gt 0 ] && [ "$1" != -- ]; do properties+=(-p "$1"); shift; done
    got="$(alone "$name" "${properties[@]}") $(alone "$name" "${properties[@]}" -p "$with_it") $(json "d['result']['$name']" <"$WORK/took.json")"
    echo "without, with, in a plugin: $got; wanted: $without $with $plugin"
    [ "$got" = "$without $with $plugin" ]
}
row() { # row DIRECTIVE ARGUMENTS
    local belt
    belt=$(sed -n 's/.* -- /belt: /p' <<<" $*")
    check "$IN$1: ${belt:-it is what keeps it from plugins}" directive "$@"
}
IN=
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
row Nice=0 allowed EPERM EPERM User=matt Nice=-5 -- where the service is ahead, the drop fails
row RestrictRealtime=yes EINVAL EPERM EPERM User=matt
FOREIGN=$({ /opt/wall/foreign ia32 || /opt/wall/foreign x32; } >/dev/null 2>&1 && echo allowed || echo ENOSYS)
row SystemCallArchitectures=native "$FOREIGN" SIGSYS SIGSYS User=matt
row SystemCallErrorNumber=EPERM SIGSYS EPERM EPERM User=matt "SystemCallFilter=~@resources"
row "$(sed -n 's/^ENFORCING \(SystemCallFilter=\)/\1/p' "$WORK/table")" allowed EPERM EPERM User=matt SystemCallErrorNumber=EPERM
row "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" allowed EAFNOSUPPORT EAFNOSUPPORT User=matt
row ProtectControlGroups=yes allowed EROFS EROFS User=matt
row "$(sed -n 's/^ENFORCING \(ReadWritePaths=\)/\1/p' "$WORK/table")" EROFS allowed allowed User=matt ProtectControlGroups=yes -- it is for the warden, DAC keeps plugins out
row PrivateMounts=yes allowed EPERM EPERM User=matt
row UMask=0077 allowed EPERM EPERM User=matt -- the drop sets it too
row LimitCORE=0 allowed EPERM EPERM User=matt -- the drop sets it too
row LimitMEMLOCK=64M EPERM allowed allowed User=matt LimitMEMLOCK=4M -- it is for the warden, the drop sets a plugin its own
# What a directive does after the end is not an attempt.
leave() { systemd-run -q --wait -p User=ductile "$@" touch /dev/shm/ductile-door && { [ -e /dev/shm/ductile-door ] && echo left || echo gone; }; rm -f /dev/shm/ductile-door; }
removed() { [ "$(leave) $(leave -p RemoveIPC=yes)" = "left gone" ]; }
check "RemoveIPC=yes: what the service user left in /dev/shm is gone with it" removed
echo RemoveIPC=yes >>"$WORK/known"
directives() { sed -n '/^\[Service\]/,/^\[Install\]/p' "/etc/systemd/system/$1.service" | grep -vE '^(\[|$|(Type|NotifyAccess|User|Group|AmbientCapabilities|CapabilityBoundingSet|Delegate|ExecStartPre|ExecStart|KillMode|TimeoutStopSec|Restart)=)' | sort; }
rows_of() { grep -E "^($1) " "$WORK/table" | cut -d' ' -f2- | sort; }
all_known() { diff <(directives ductile) <(sort "$WORK/known"); }
check "every directive of the unit has its row here, and every row is in the unit" all_known
listed() { diff <(rows_of 'ALL|ENFORCING|HYBRID') <(sort "$WORK/known"); }
check "and so has every row of the table" listed

# ---- what full-privsep has more -----------------------------------------------------------------------------------------
full() { ductile -i ductile-full "$@"; }
provision_full() {
    ductile-install -i ductile-full -q init --posture full-privsep >/dev/null && ductile-install -i ductile-full -q apply >/dev/null 2>&1 &&
        full plugin add "$SRC/tests/host/plugins/hardened" >/dev/null && full plugin lock hardened >/dev/null && systemctl start ductile-full
}
check "full-privsep: the gateway starts" provision_full
names() { full job run --json hardened handle --payload '{"only": ["names", "pool", "shell", "node"]}' >"$WORK/work.json" && did names 127.0.0.1 && did pool 285 && did shell 42; }
check "full-privsep: names, python, a shell and /tmp are there without netlink" names
full job run --json hardened poll --payload "{\"mnt\": \"$MNT\"}" >"$WORK/took.json"
systemctl stop ductile-full
IN='full-privsep: '
rows_of 'ALL|ENFORCING' >"$WORK/known"
ATTEMPT=RestrictAddressFamilies/netlink row "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" allowed EAFNOSUPPORT EAFNOSUPPORT User=matt
row PrivateTmp=yes allowed ENOENT ENOENT User=matt
row ProtectHome=read-only allowed EROFS EROFS User=matt
all_known() { diff <(directives ductile-full) <(sort "$WORK/known"); }
check "full-privsep: every directive of the unit has its row here, and every row is in the unit" all_known
listed() { diff <(rows_of 'ALL|ENFORCING|FULL|AWAY') <(sort "$WORK/known"); }
check "full-privsep: and so has every row of the table" listed
root_seen() {
    local mode; mode=$(stat -c %a /root)
    chmod 777 /root; ! systemctl start ductile-full; local rc=$?; chmod "$mode" /root
    [ $rc = 0 ] && journalctl --sync && journalctl -u ductile-full -o cat --no-pager | grep -A1 'refused GATE-DOOR' | grep '/root' && systemctl reset-failed ductile-full
}
check "full-privsep: the gate still sees that /root is a door" root_seen
mkdir -p /run/systemd/system/ductile-full.service.d
printf '[Service]\nProtectHome=yes\n' >/run/systemd/system/ductile-full.service.d/t.conf
systemctl daemon-reload
check "control: behind ProtectHome=yes it does not" not root_seen
rm -r /run/systemd/system/ductile-full.service.d
systemctl daemon-reload
systemctl stop ductile-full
kept() { # where the ledger is kept in a home it must be written
    printf 'state: {path: /home/ductile-ledger/ductile.db}\n' >/etc/ductile-full/plugins.d/ledger.yaml
    ductile-install -i ductile-full -q apply 2>/dev/null && ! grep ProtectHome= /etc/systemd/system/ductile-full.service && grep -q '^PrivateTmp=yes' /etc/systemd/system/ductile-full.service &&
        systemctl daemon-reload && systemctl start ductile-full && ls /home/ductile-ledger/ductile.db && systemctl stop ductile-full
}
check "full-privsep: with the ledger in a home no ProtectHome=, and it is written there" kept

# ---- control: a directive that is not there, and why ----------------------------------------------------------------------
mkdir -p /run/systemd/system/ductile.service.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/run/systemd/system/ductile.service.d/t.conf
broken() { systemctl daemon-reload && systemctl start ductile && rm "$WORK/work.json" && work && json 'd["result"]["node"]' <"$WORK/work.json" | grep -q '^failed: node'; }
check "control: with MemoryDenyWriteExecute= node breaks, and this test sees it" broken
stop_gateway

# ---- what an operator may add ---------------------------------------------------------------------------------------------
dropin() { printf '[Service]\n%s\n' "$@" >/run/systemd/system/ductile.service.d/t.conf && systemctl daemon-reload && systemctl start ductile; }
attempt_ends() { ductile job run --json hardened handle --payload '{"only": ["shell"]}' >"$WORK/job.json"; json 'd["state"]' <"$WORK/job.json"; }
supervised() { dropin Slice=user.slice && gateway_log | grep 'msg="ready' | tail -1 | grep 'a supervisor per job' && attempt_ends | grep succeeded; }
check "in another Slice= jobs are held by supervisors" supervised
stop_gateway
in_slice() { dropin Slice=user.slice ReadWritePaths=-/sys/fs/cgroup/user.slice/ductile.service && gateway_log | grep 'msg="ready' | tail -1 | grep 'a cgroup per worker'; }
check "unless its place is named too" in_slice
stop_gateway
ahead() { ! dropin Nice=-5 && journalctl --sync && gateway_log | tail -20 | grep 'the drop failed at stage scheduling'; }
check "Nice=-5, which the drop cannot set back, is refused by the gate" ahead
systemctl reset-failed ductile
behind() { dropin Nice=15 CPUAffinity=0 && attempt_ends | tee /dev/stderr | grep succeeded; }
check "Nice=15 and one CPU are the operator's choice" behind
rm -r /run/systemd/system/ductile.service.d
systemctl daemon-reload
stop_gateway
