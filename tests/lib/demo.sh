#!/bin/bash
# make demo, as people will run it: it works, says when there is no wall, is climbed when broken, leaves nothing.
. "$(dirname "$0")/tap.sh"
log=$(mktemp)
copy=$(mktemp -d) # where somebody else can read it: a clone in /root is not
trap 'rm -rf "$log" "$copy"' EXIT
mkdir "$copy/tests" && cp -R bin share "$copy/" && cp -R tests/lib "$copy/tests/" && chmod -R a+rX "$copy"
nobody=(env --default-signal=INT setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/ TMPDIR=/tmp "$copy/share/demo/demo")
traces() { # what a demo could leave on this host
    pgrep -fa 'bin/ductile-(run|gate)|ductile/ductile-bus|bin/ductile-bus' | grep -v defunct
    pgrep -fa 'lib/forge.py|src/forge.py|share/demo|src/demo/'
    ls -d /etc/ductile /var/lib/ductile /opt/ductile /run/ductile "${TMPDIR:-/tmp}"/ductile-demo.* /home/demo 2>/dev/null
    grep -E ' /mnt/(nest|layers|src) ' /proc/mounts
    getent passwd ductile demo
    find /sys/fs/cgroup -maxdepth 6 -name 'nest.*' 2>/dev/null
}
before=$(traces)
left() { # what is not gone within 3 s
    local try
    for try in $(seq 30); do
        diff <(printf '%s\n' "$before") <(traces | grep . || echo) >/dev/null && return 0
        sleep 0.1
    done
    diff <(printf '%s\n' "$before") <(traces | grep . || echo)
}
began=$SECONDS
walled() { share/demo/demo >"$log" 2>&1 || { tail -40 "$log"; return 1; }; }
check "as root: the journey passes behind the wall" walled
figure "demo: $((SECONDS - began)) s"
matrix() { [ "$(grep -cE '^(secret-zero|vault|ledger|config|become-root|userns-clone3) .*denied E[A-Z]+ \| (twin opens|no twin)' "$log")" = 6 ] && ! grep -q ALLOWED "$log"; }
check "the matrix shows each denial with its control beside it" matrix
journey() { grep -q 'confined account "github-sync".*caps eff=0' "$log" && grep -q 'credentialed account "demo"' "$log" && grep -q '"octo/gamma"' "$log" && grep -q '^secret zero .* made by ductile' "$log"; }
check "it shows the hop between the tiers, the pushed index, and what was touched" journey
check "in less than 60 s" test $((SECONDS - began)) -lt 60
check "and leaves nothing behind" left
terminal() { GIT_PAGER='sed s/^/paged:/' timeout -k 5 90 script -qec share/demo/demo "$log" </dev/null >/dev/null 2>&1 && grep -q 'Operator: first' "$log" && ! grep paged: "$log"; }
check "on a terminal it asks for no pager, and waits for no key" terminal
broken() { DEMO_BREAK=keepcaps share/demo/demo >"$log" 2>&1; [ $? = 1 ] && grep -qE '^become-bus .*ALLOWED' "$log" && grep -q 'THE WALL WAS CLIMBED' "$log"; }
check "control: a drop that keeps the capabilities is climbed, says ALLOWED, exits 1" broken
loud() { "${nobody[@]}" >"$log" 2>&1 || { tail -5 "$log"; return 1; }; grep -q 'NO WALL IN THIS DEMO' "$log" && grep -q 'not root' "$log" && grep -qE '^secret-zero .*ALLOWED' "$log"; }
check "without root: unconfined, said loudly, and secret zero is open" loud
no_namespaces() { setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin share/demo/demo >"$log" 2>&1 || { tail -5 "$log"; return 1; }; grep -E 'Reason| uid 0 ' "$log"; grep -q 'namespaces are not to be had here' "$log" && ! grep -q ' uid 0 ' "$log"; }
check "root without the right to namespaces: the same, and nothing runs as root" no_namespaces
check "and leaves nothing behind either" left
interrupted() {
    local at demo
    for at in 0.1 0.3 0.5 0.7 0.9; do
        timeout -s INT $at share/demo/demo >/dev/null 2>&1
        "${nobody[@]}" >/dev/null 2>&1 &
        demo=$!
        sleep $at
        for _ in 1 2 3 4 5 6; do kill -INT $demo; done 2>/dev/null # as an impatient user would: each may cut the first's answer short
        wait $demo
    done
    left
}
check "interrupted at five moments, it leaves nothing behind" interrupted
# A git that leaves something running, which writes on for four seconds: what is removed before it has ended comes back.
lingering() {
    local demo path=$copy:$PATH
    printf '#!/bin/sh\n[ -z "$DEMO" ] || [ -e "$DEMO/late" ] || { mkdir "$DEMO/late"; (i=0; while [ $i -lt 40 ]; do i=$((i + 1)); mkdir -p "$DEMO/late/$i"; sleep 0.1; done) >/dev/null 2>&1 & }\nexec /usr/bin/git "$@"\n' >"$copy/git" && chmod 755 "$copy/git"
    PATH=$path "${nobody[@]}" >"$log" 2>&1 || return 1
    left || return 1
    PATH=$path "${nobody[@]}" >"$log" 2>&1 &
    demo=$!
    for _ in $(seq 100); do ls -d /tmp/ductile-demo.*/late >/dev/null 2>&1 && break; sleep 0.05; done
    ls -d /tmp/ductile-demo.*/late >/dev/null || return 1
    kill -INT $demo
    wait $demo
    [ $? = 130 ] && sleep 1 && left
}
check "nor when a process of it lives on and writes" lingering
# Its first removal is cut short by a signal, as Ctrl-C would: `find` stands for the moment.
cut() {
    printf '#!/bin/sh\n[ -e "%s/cut" ] && exec /usr/bin/find "$@"\n: >"%s/cut"\nkill -INT $PPID\n' "$copy" "$copy" >"$copy/find" && chmod 755 "$copy/find"
    PATH=$copy:$PATH tests/lib/nest true
    [ -e "$copy/cut" ] && left
}
check "nor when it is interrupted while it cleans up" cut
# A signal between the nest's fork and its next line, which a sleep widens: what was forked ends all the same.
gap() {
    local nest=$copy/tests/lib/nest.gap
    sed 's/^NEST_CGROUP=.* &$/&\nsleep 0.5/' tests/lib/nest >"$nest" && chmod 755 "$nest" && grep -qx 'sleep 0.5' "$nest" || return 1
    "$nest" sleep 4 &
    sleep 0.25
    kill -TERM $!
    wait $!
    [ $? = 143 ] && ! pgrep -fa 'nest.gap --inside' && left
}
check "nor does its nest, when a signal comes between a fork and the next line" gap
