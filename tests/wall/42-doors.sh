#!/bin/bash
# not: wall-abi2, host (asks about files, groups and sockets, no layer of the wall; the real unit with one is in 50-refusals)
# Doors that are asked as the account itself, and the floor's further rows: each with one fault, and silent without it. In
# all three postures a clean tree says nothing but what is consent.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
rm -f /var/lib/ductile/ledger/*
# Never the host's own sysctls: files of our own lie over them, in a mount namespace that ends with the command.
mkdir "$WORK/fs" && chmod 755 "$WORK" "$WORK/fs"
for name in hardlinks symlinks fifos regular; do echo 1 >"$WORK/fs/$name"; done
chmod 644 "$WORK"/fs/*
echo core >"$WORK/core_pattern"
cat >"$WORK/kernel" <<K
#!/bin/bash
for name in hardlinks symlinks fifos regular; do mount --bind $WORK/fs/\$name /proc/sys/fs/protected_\$name || exit 99; done
mount --bind $WORK/core_pattern /proc/sys/kernel/core_pattern || exit 99
for dir in \${READ_ONLY:-}; do mount --bind \$dir \$dir && mount -o remount,bind,ro \$dir || exit 99; done
exec env -i PATH="\$PATH" LANG=C.UTF-8 setpriv --reuid=ductile --regid=ductile --init-groups --inh-caps=+setuid,+setgid \\
    --ambient-caps=+setuid,+setgid --bounding-set=-all,+setuid,+setgid /usr/local/bin/ductile-gate "\$@"
K
chmod 755 "$WORK/kernel"
gate() { unshare --mount --propagation private "$WORK/kernel" "$@"; }
# lines: what the gate says beyond the summary, as WORD ID SUBJECT. That the facts of root are stale once passwd has changed
# is 41-facts's; that a plugin made for a test has no lock is no door.
lines() { sed -nE 's/^ductile-gate: (warn|unproven|refused) (GATE-[A-Z]+-[0-9]+): .*: ([^ ]+)$/\1 \2 \3/p' | grep -vE ' GATE-(FACTS|LOCK)-01 '; }
# says VERDICT CODE ID SUBJECT WHY: exactly that besides the lab's consent, and its evidence
CONSENT='warn GATE-DOOR-01 matt
warn GATE-DOOR-02 matt'
says() {
    local verdict=$1 code=$2 id=$3 subject=$4 why=$5 rc
    gate check --boot >"$WORK/said" 2>&1
    rc=$?
    cat "$WORK/said"
    [ $rc = "$code" ] || { echo "exit $rc"; return 1; }
    [ "$(lines <"$WORK/said" | grep -vxF "$CONSENT")" = "$verdict $id $subject" ] || { echo "it says more or less than $verdict $id $subject"; return 1; }
    grep -A1 " $id: " "$WORK/said" | grep -qE "  why: .*$why" || { echo "why is not $why"; return 1; }
}
clean() { gate check --boot >"$WORK/said" 2>&1 || { cat "$WORK/said"; return 1; }; lines <"$WORK/said" | diff <(echo "$CONSENT") -; }
# fault ID NAME CHANGE UNDO VERDICT SUBJECT WHY: told with the change, and only then
fault() {
    local id=$1 name=$2 change=$3 undo=$4 verdict=$5 subject=$6 why=$7
    both() {
        local rc code=0
        [ "$verdict" != refused ] || code=78
        bash -c "$change" || { echo "the change failed"; return 1; }
        says "$verdict" $code "$id" "$subject" "$why"
        rc=$?
        bash -c "$undo" || { echo "it was not undone"; return 1; }
        [ $rc = 0 ] && clean
    }
    check "$id: $name" both
}

check "hybrid: a clean tree says what is consent, and no more" clean
other() { # other INSTANCE POSTURE: another instance of that posture, and not a word
    ductile-install -q -i "$1" init --posture "$2" >/dev/null && ductile-install -q -i "$1" apply >/dev/null 2>&1 || return 1
    sed '/^exec/,$d' "$WORK/kernel" >"$WORK/root" && echo 'exec ductile-gate "$@"' >>"$WORK/root" # root: it becomes the service itself
    unshare --mount --propagation private bash "$WORK/root" -i "$1" check >"$WORK/said" 2>&1 || { cat "$WORK/said"; return 1; }
    diff /dev/null <(lines <"$WORK/said")
}
check "full-privsep: a clean tree says nothing" other ductile-two full-privsep
check "unconfined: a clean tree says nothing" other ductile-three unconfined

# ---- GATE-DOOR-06: sockets ---------------------------------------------------------------------
cat >"$WORK/listen" <<'P'
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1]); s.listen(8)
os.chown(sys.argv[1], 0, int(sys.argv[3])); os.chmod(sys.argv[1], int(sys.argv[2], 8))
print(flush=True)
time.sleep(300)
P
listening() { printf 'mkdir -p %s; python3 %s %s %s "$(getent group %s | cut -d: -f3)" >%s & echo $! >%s; until [ -s %s ]; do sleep 0.02; done' \
    "${1%/*}" "$WORK/listen" "$1" "$2" "$3" "$WORK/up" "$WORK/listener" "$WORK/up"; }
silence() { printf 'kill $(cat %s); rm -f %s %s' "$WORK/listener" "$1" "$WORK/up"; }
fault GATE-DOOR-06 "a container socket that an account may use is open to its plugins" "$(listening /run/docker.sock 660 ductile-default)" "$(silence /run/docker.sock)" \
    refused default 'exists: /run/docker.sock; open to a plugin: yes'
fault GATE-DOOR-06 "one that the operator's group may use exists, and is closed to a plugin" "$(listening /run/docker.sock 660 docker)" "$(silence /run/docker.sock)" \
    warn matt 'exists: /run/docker.sock; open to a plugin: no'
fault GATE-DOOR-06 "one that an ACL opens is found" \
    "$(listening /run/podman/podman.sock 600 root); setfacl -m u:ductile-untrusted:rw /run/podman/podman.sock" "$(silence /run/podman/podman.sock)" \
    refused untrusted 'exists: /run/podman/podman.sock; open to a plugin: yes'
full() { # nobody accepts, and its queue is full
    python3 -c 'import os, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind("/run/docker.sock"); s.listen(0); os.chmod("/run/docker.sock", 0o660); os.chown("/run/docker.sock", 0, int(sys.argv[1]))
waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
for x in waiting:
    x.setblocking(False)
    try: x.connect("/run/docker.sock")
    except BlockingIOError: print(flush=True)
time.sleep(60)' "$(id -g ductile-default)" >"$WORK/up" &
    local pid=$! rc
    for _ in $(seq 100); do [ -s "$WORK/up" ] && break; sleep 0.05; done
    says refused 78 GATE-DOOR-06 default 'exists: /run/docker.sock; open to a plugin: yes'
    rc=$?
    kill $pid; rm -f /run/docker.sock "$WORK/up"
    return $rc
}
check "GATE-DOOR-06: one with a full queue is found, and nobody waits" full
nobody_there() { bash -c "$(listening /run/docker.sock 666 root); kill \$(cat $WORK/listener)"; clean; local rc=$?; rm -f /run/docker.sock "$WORK/up"; return $rc; }
check "GATE-DOOR-06: a socket behind which nobody listens is none" nobody_there

# ---- GATE-DOOR-07, -08, -09: programs -----------------------------------------------------------
fault GATE-DOOR-07 "a directory of root's PATH that an account may write" "setfacl -m u:ductile-default:rwx /usr/local/sbin" "setfacl -b /usr/local/sbin" \
    refused default 'exists: /usr/local/sbin; open to a plugin: no'
fault GATE-DOOR-07 "one that is named by /etc/environment only" \
    "mkdir -m 777 /opt/tools; echo 'PATH=\"/opt/tools:/usr/bin\"' >>/etc/environment; setfacl -m u:ductile-default:--- /opt/tools; setfacl -m u:ductile-untrusted:rwx /opt/tools; chmod o-w /opt/tools" \
    "rm -r /opt/tools; sed -i /tools/d /etc/environment" refused untrusted 'exists: /opt/tools; open to a plugin: no'
fault GATE-DOOR-07 "a program in it that belongs to the operator" "cp /bin/true /usr/local/bin/mine; chown matt /usr/local/bin/mine" "rm /usr/local/bin/mine" \
    warn matt 'exists: /usr/local/bin/mine; open to a plugin: yes'
fault GATE-DOOR-07 "one that is his and that its mode keeps from him: he may change the mode" \
    "cp /bin/true /usr/local/bin/mine; chown matt /usr/local/bin/mine; chmod 555 /usr/local/bin/mine" "rm /usr/local/bin/mine" \
    warn matt 'exists: /usr/local/bin/mine; open to a plugin: yes'
fault GATE-DOOR-07 "one of a confined account's, whose domain holds it then" \
    "cp /bin/true /usr/local/bin/mine; chown ductile-default /usr/local/bin/mine; chmod 555 /usr/local/bin/mine" "rm /usr/local/bin/mine" \
    refused default 'exists: /usr/local/bin/mine; open to a plugin: no'
fault GATE-DOOR-08 "a setuid program that an account may write" "cp /bin/true /usr/local/bin/su2; chmod 4755 /usr/local/bin/su2; setfacl -m u:ductile-default:rwx /usr/local/bin/su2" "rm /usr/local/bin/su2" \
    refused default 'exists: /usr/local/bin/su2; open to a plugin: no'
fault GATE-DOOR-08 "a setgid program in a directory that an account may write" \
    "mkdir /usr/lib/made; cp /bin/true /usr/lib/made/sg; chmod 2755 /usr/lib/made/sg; setfacl -m u:ductile-default:rwx /usr/lib/made" "rm -r /usr/lib/made" \
    refused default 'exists: /usr/lib/made; open to a plugin: no'
fault GATE-DOOR-09 "a program with capabilities that an account may write" "cp /bin/true /usr/local/bin/cap; setcap cap_net_raw+ep /usr/local/bin/cap; setfacl -m u:ductile-default:rwx /usr/local/bin/cap" "rm /usr/local/bin/cap" \
    refused default 'exists: /usr/local/bin/cap; open to a plugin: no'

# ---- GATE-DOOR-10, -12, -13, -15: what is obeyed -------------------------------------------------
fault GATE-DOOR-10 "a file that root obeys" "touch /etc/ld.so.preload; setfacl -m u:ductile-default:rw /etc/ld.so.preload" "rm /etc/ld.so.preload" \
    refused default 'exists: /etc/ld.so.preload; open to a plugin: no'
fault GATE-DOOR-10 "a directory of such" "setfacl -m u:ductile-default:rwx /etc/profile.d" "setfacl -b /etc/profile.d" refused default 'exists: /etc/profile.d;'
fault GATE-DOOR-10 "a file in one" "mkdir -p /etc/cron.d; echo >/etc/cron.d/theirs; chown ductile-default /etc/cron.d/theirs" "rm /etc/cron.d/theirs" refused default 'exists: /etc/cron.d/theirs;'
fault GATE-DOOR-10 "one of the operator's, whose account has no domain against it" "mkdir -p /etc/cron.d; echo >/etc/cron.d/his; chown matt /etc/cron.d/his" "rm /etc/cron.d/his" \
    warn matt 'exists: /etc/cron.d/his; open to a plugin: yes'
fault GATE-DOOR-10 "one that only a group opens" "groupadd -r roots; gpasswd -a matt roots >/dev/null; chgrp roots /etc/crontab 2>/dev/null || touch /etc/crontab; chgrp roots /etc/crontab; chmod 664 /etc/crontab" \
    "chgrp root /etc/crontab; chmod 644 /etc/crontab; groupdel roots" warn matt 'exists: /etc/crontab; open to a plugin: no'
fault GATE-DOOR-12 "a drop-in directory of our unit" "mkdir -p /etc/systemd/system/ductile.service.d; setfacl -m u:matt:rwx /etc/systemd/system/ductile.service.d" \
    "rm -r /etc/systemd/system/ductile.service.d" warn matt 'exists: /etc/systemd/system/ductile.service.d; open to a plugin: yes'
fault GATE-DOOR-12 "our unit" "cp /etc/systemd/system/ductile.service $WORK/unit; setfacl -m u:ductile-default:rw /etc/systemd/system/ductile.service" \
    "rm /etc/systemd/system/ductile.service; cp $WORK/unit /etc/systemd/system/ductile.service" refused default 'exists: /etc/systemd/system/ductile.service; open to a plugin: no'
fault GATE-DOOR-13 "a plugin that another account may write" "setfacl -m u:ductile-untrusted:rwx /opt/ductile/plugins/unruly" "setfacl -b /opt/ductile/plugins/unruly" \
    refused untrusted 'exists: /opt/ductile/plugins/unruly; open to a plugin: no'
fault GATE-DOOR-13 "a file of the operator's code that a confined account may write" \
    "cd /home/matt/ductile/plugins && mkdir -p his && echo >his/run && chown -R matt:matt his && setfacl -R -m g:ductile:rX,u:ductile-default:rwX his && setfacl -m d:g:ductile:rx,u:ductile-default:x his . .. ../.. && setfacl -d -m g:ductile:rx his" \
    "cd /home/matt && rm -r ductile/plugins/his; setfacl -x u:ductile-default,d:g:ductile . ductile; setfacl -x u:ductile-default ductile/plugins" refused default 'exists: /home/matt/ductile/plugins/his'
piped() { printf 'cp /bin/true /usr/lib/dumper; echo "|/usr/lib/dumper %%p" >%s/core_pattern; %s' "$WORK" "$1"; }
fault GATE-DOOR-15 "core dumps that are piped to a program an account may write" "$(piped 'setfacl -m u:ductile-default:rw /usr/lib/dumper')" \
    "rm /usr/lib/dumper; echo core >$WORK/core_pattern" refused default 'exists: /usr/lib/dumper; open to a plugin: no'
pipe_of_root() { bash -c "$(piped :)"; clean; local rc=$?; rm /usr/lib/dumper; echo core >"$WORK/core_pattern"; return $rc; }
check "GATE-DOOR-15: a program of root's is none" pipe_of_root
# The unit's mounts are its own: what they close is open to everybody else. A file system that is read-only is closed.
export READ_ONLY="/usr /etc"
fault GATE-DOOR-07 "one behind a read-only mount of the unit's" "setfacl -m u:matt:rwx /usr/local/sbin" "setfacl -b /usr/local/sbin" \
    warn matt 'exists: /usr/local/sbin; open to a plugin: no'
unset READ_ONLY
sealed() { mount -t tmpfs -o mode=777 tmpfs /usr/local/sbin && mount -o remount,ro /usr/local/sbin; clean; local rc=$?; umount /usr/local/sbin; return $rc; }
check "GATE-DOOR-07: one on a read-only file system is none" sealed
warned() { echo 'service: {admission: {fail_on_sidedoor: warn}}' | add_config more; chgrp ductile /etc/ductile/plugins.d/more.yaml; chmod 640 /etc/ductile/plugins.d/more.yaml
    setfacl -m u:ductile-default:rwx /usr/local/sbin; says warn 0 GATE-DOOR-07 default 'exists: /usr/local/sbin'; local rc=$?
    setfacl -b /usr/local/sbin; rm /etc/ductile/plugins.d/more.yaml; return $rc; }
check "GATE-DOOR-07: under fail_on_sidedoor: warn it is told, and the gateway starts" warned

# ---- GATE-DOOR-02: what starts outside of the drop --------------------------------------------------
login() { # login WORD CHANGE UNDO: the account's one line names it, and only then
    login_line() { gate check --boot >"$WORK/said" 2>&1; cat "$WORK/said"; grep -qE "why: open to a plugin: .*\b$1(,|\$)" "$WORK/said"; }
    login_then() { not login_line "$1" && bash -c "$2" && login_line "$1"; local rc=$?; bash -c "$3"; [ $rc = 0 ] && not login_line "$1"; }
    check "GATE-DOOR-02: $1 is named" login_then "$@"
}
MATT=$(id -u matt)
login tmux "$(listening "/tmp/tmux-$MATT/default" 660 root); chown -R matt /tmp/tmux-$MATT; chmod 700 /tmp/tmux-$MATT" "$(silence "/tmp/tmux-$MATT/default")"
login screen "$(listening /run/screen/S-matt/1.work 660 root); chown -R matt /run/screen/S-matt; chmod 700 /run/screen/S-matt" "$(silence /run/screen/S-matt/1.work)"
login linger "mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/matt" "rm /var/lib/systemd/linger/matt"

# ---- the floor ----------------------------------------------------------------------------------
for name in hardlinks symlinks fifos regular; do
    fault GATE-KERNEL-04 "fs.protected_$name that is off" "echo 0 >$WORK/fs/$name" "echo 1 >$WORK/fs/$name" warn 'fs.protected_*' "0: protected_$name\$"
done
fault GATE-HOME-04 "a directory in the home that does not hand the access down" "mkdir -p /home/matt/ductile/plugins/p/sub; chown -R matt:matt /home/matt/ductile/plugins/p; setfacl -k /home/matt/ductile/plugins/p/sub" \
    "rm -r /home/matt/ductile/plugins/p" warn /home/matt/ductile/plugins/p/sub 'no entry for its group in the default ACL \(1 of 3'
fault GATE-VAULT-01 "a vault that is another key's" "cp -p /var/lib/ductile/vault/vault.age $WORK/vault; age -r \$(age-keygen 2>/dev/null | sed -n 's/.*key: //p') </dev/null >/var/lib/ductile/vault/vault.age" \
    "cp -p $WORK/vault /var/lib/ductile/vault/vault.age" refused /var/lib/ductile/vault/vault.age 'for another key'
fault GATE-VAULT-01 "a vault whose header was changed" "cp -p /var/lib/ductile/vault/vault.age $WORK/vault; python3 -c 'p=\"/var/lib/ductile/vault/vault.age\"; b=bytearray(open(p,\"rb\").read()); i=b.index(b\"\n--- \")+6; b[i]=65 if b[i]!=65 else 66; open(p,\"r+b\").write(b)'" \
    "cp -p $WORK/vault /var/lib/ductile/vault/vault.age" refused /var/lib/ductile/vault/vault.age 'its header was tampered with'
fault GATE-VAULT-01 "a vault whose key is gone" "mv /etc/ductile/secret/age.key $WORK/age.key" "mv $WORK/age.key /etc/ductile/secret/age.key" refused /var/lib/ductile/vault/vault.age 'No such file'
ID=$(id -u ductile-default) BUS=$(id -g ductile-bus)
cp /etc/passwd /etc/group "$WORK"
BACK="cp $WORK/passwd $WORK/group /etc/"
fault GATE-IDS-01 "a second user with an account's uid" "echo twin:x:$ID:100::/:/bin/false >>/etc/passwd" "$BACK" refused ductile-default "uid $ID is also twin's"
fault GATE-IDS-01 "another user whose group is an account's" "echo twin:x:60123:$ID::/:/bin/false >>/etc/passwd" "$BACK" refused ductile-default "gid $ID is also the group of twin"
fault GATE-IDS-01 "an account that stands there twice" "grep ^ductile-default: /etc/passwd >>/etc/passwd.new; cat /etc/passwd.new >>/etc/passwd; rm /etc/passwd.new" "$BACK" refused ductile-default 'passwd has ductile-default twice'
fault GATE-IDS-01 "a second group with the bus's gid" "echo twin:x:$BUS: >>/etc/group" "$BACK" refused ductile-bus "gid $BUS is also the group twin"
fault GATE-IDS-01 "an account's group with another gid" "sed -i 's/^ductile-default:x:[0-9]*/ductile-default:x:60123/' /etc/group" "$BACK" refused ductile-default 'does not have it with gid'
fault GATE-IDS-01 "a confined account in the operators' group" "gpasswd -a ductile-default ductile-operators >/dev/null" "$BACK" refused ductile-default 'has it in ductile-operators'
# What a boot costs, beyond starting the gate at all.
cat >"$WORK/cost" <<'P'
import resource, subprocess, sys, time
def once(*what):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["unshare", "--mount", "--propagation", "private", sys.argv[1], *what], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
best = lambda *what: [min(x) for x in zip(*(once(*what) for _ in range(10)))]
print("%.0f ms, of processors %.0f ms" % tuple(1000 * (a - b) for a, b in zip(best("check", "--boot"), best("--version"))))
P
for i in $(seq 24); do cp -R /opt/ductile/plugins/unruly "/opt/ductile/plugins/more$i"; done
figure "check --boot, 3 accounts, 25 plugins, best of 10: $(python3 "$WORK/cost" "$WORK/kernel")"
rm -r /opt/ductile/plugins/more*
check "after all that a clean tree says what is consent, and no more" clean
