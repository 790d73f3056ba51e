# Sourced after common.sh and lab.sh: aims plugins/climb from every account, and from the worlds in which it must succeed.
CANARY=ductile-canary
TOKEN=delivered-to-nobody-$RANDOM-$RANDOM SEEN=carried-in-argv-$RANDOM-$RANDOM
mkdir -p "$WORK/attacks" && chmod 755 "$WORK" "$WORK/attacks"

# What a careless starter leaves lying about: `littered COMMAND...` runs it with an open secret zero, a working directory, a
# keyring and an environment of the service.
LITTERED=$WORK/littered
cat >"$LITTERED" <<'B'
#!/usr/bin/python3
import ctypes, os, sys
libc = ctypes.CDLL(None)
join, add = (250, 248) if os.uname().machine == "x86_64" else (219, 217)
assert libc.syscall(join, 1, None) > 0  # KEYCTL_JOIN_SESSION_KEYRING
assert libc.syscall(add, b"user", b"ductile-canary", b"of the service", 14, -3) > 0
for name in set(os.environ) - {"PATH", "LANG"}:
    del os.environ[name]
os.environ["SERVICE_SECRET"] = "ductile-canary"
os.dup2(os.open("/etc/ductile/secret/age.key", os.O_RDONLY), 9)
os.chdir("/etc/ductile")
os.execvp(sys.argv[1], sys.argv[1:])
B
chmod 755 "$LITTERED"

attack_lab() { # attack_lab POSTURE: people, config, plugins, locks, and bystanders until the end
    local operator=matt
    [ "$1" = hybrid ] || operator=
    install_suite && install_wall && make_people matt || return 1
    ductile-install -q init --posture "$1" ${operator:+--operator $operator} >/dev/null || return 1
    ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log" >&2; return 1; } # the users, for their numbers
    ACCOUNTS="default untrusted $operator"
    {
        echo "service: {max_workers: 4, drain: 1s}"
        echo "plugins:"
        for account in $ACCOUNTS; do
            echo "  unruly_$account: {uses: unruly, run_as: $account, retry: {max_attempts: 1}, timeouts: {poll: 60s, handle: 60s}}"
            printf "  climb_%s:\n    uses: climb\n    run_as: %s\n    retry: {max_attempts: 1}\n    config:\n      targets: '%s'\n" \
                "$account" "$account" "$(targets_for "$account" matt)"
        done
    } | add_config attacks
    ductile-install -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log" >&2; return 1; }
    leave_setuid
    for plugin in climb unruly; do
        ductile plugin add "$SRC/tests/wall/plugins/$plugin" >/dev/null && ductile plugin lock $plugin >/dev/null || return 1
    done
    bystanders
    trap end_bystanders EXIT
}
# A setuid program of `default`'s, where setuid counts (many a /tmp is nosuid) and the unit does not hide it.
leave_setuid() { install -o ductile-default -m 4755 /usr/bin/id /opt/wall/ductile-left-setuid; }
own_of() { [ "$1" = matt ] && echo /home/matt || echo "/var/lib/ductile/accounts/$1"; }
# A service manager of the operator's that listens, as linger makes one; a process of theirs; one with a token in its argv.
bystanders() {
    local dir
    dir=/run/user/$(id -u matt)
    mkdir -p "$dir/systemd" && chown -R matt "$dir" && chmod 700 "$dir"
    setpriv --reuid=matt --regid=matt --init-groups python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(3600)' "$dir/systemd/private" &
    BYSTANDERS="$!"
    setpriv --reuid=matt --regid=matt --init-groups sleep 3600 & # not `as`, whose process would be our own shell
    LOGIN=$!
    python3 -c 'import os, sys; os.execv("/bin/sleep", [sys.argv[1], "3600"])' "$SEEN" & # who takes a secret by argv
    BYSTANDERS="$BYSTANDERS $LOGIN $!"
    for _ in $(seq 40); do [ -S "$dir/systemd/private" ] && break; sleep 0.05; done
}
end_bystanders() { kill $BYSTANDERS 2>/dev/null; rm -rf "/run/user/$(id -u matt)"; }

pid_of_job() { for _ in $(seq 100); do p=$(ledger "select coalesce(pid,0) from job_attempt where job=$1" 2>/dev/null); [ "${p:-0}" -gt 0 ] && { echo "$p"; return; }; sleep 0.05; done; echo 0; }
# moving ACCOUNT SIBLING OTHER: the targets that only a running gateway has, as JSON
moving() {
    python3 - "$@" "$(own_of "$1")" "$(warden_pid)" "$(bus_pid)" "$LOGIN" "$(id -u matt)" "$TOKEN" "$SEEN" <<'P'
import json, sys
account, sibling, other, own, warden, bus, login, uid, token, seen = sys.argv[1:]
t = {"pids": {"warden": int(warden), "bus": int(bus), "sibling": int(sibling), "other": int(other), "login": int(login)},
     "own": own, "home": "/home/matt", "login-uid": int(uid), "argv-leak": token[::-1], "twin-argv": seen[::-1],
     "code": "/opt/ductile/plugins/climb/climb.py", "foreign": "/opt/wall/foreign"}
t["leave"], t["run"] = "/tmp/ductile-left-setuid." + account, "/opt/wall/ductile-left-setuid"
t["pids"] = {k: v for k, v in t["pids"].items() if v}
print(json.dumps(t))
P
}
# attack WORLD ACCOUNT...: climb from each account of the running gateway, with a sibling and a stranger beside it
attack() {
    local world=$1 account other sibling stranger
    shift
    # However slow the host is, they live until they were attacked.
    for account in "$@"; do
        other=$([ "$account" = untrusted ] && echo default || echo untrusted)
        sibling=$(pid_of_job "$(enqueue "unruly_$account" handle '{"mode": "calm", "seconds": 50}')")
        stranger=$(pid_of_job "$(enqueue "unruly_$other" handle '{"mode": "calm", "seconds": 50}')")
        ductile job run --json "climb_$account" poll --payload "$(moving "$account" "$sibling" "$stranger")" >"$WORK/attacks/$world.$account.json" 2>"$WORK/attacks/$world.$account.err"
        [ "$sibling" = 0 ] || kill -KILL "$sibling" 2>/dev/null
        [ "$stranger" = 0 ] || kill -KILL "$stranger" 2>/dev/null
    done
}
# world NAME LAYERS ACCOUNT...: the breakable gateway without these layers
world() {
    local name=$1 layers=$2
    shift 2
    rm -f /var/lib/ductile/ledger/* # else it would first run what the last one left queued
    BREAK=$layers start_gateway >/dev/null 2>&1 && attack "$name" "$@"
    stop_gateway >/dev/null 2>&1
    rm -rf /var/lib/ductile/accounts/*/tmp # of whoever the account was in that world
}
# by_hand WORLD ACCOUNT COMMAND...: COMMAND runs climb with everything a careless starter leaves lying about
by_hand() {
    local world=$1 account=$2 sibling stranger
    shift 2
    sibling=$(enqueue "unruly_$account" handle '{"mode": "calm", "seconds": 10}')
    stranger=$(enqueue "unruly_untrusted" handle '{"mode": "calm", "seconds": 10}')
    python3 - "$(targets_for "$account" matt)" "$(moving "$account" "$(pid_of_job "$sibling")" "$(pid_of_job "$stranger")")" >"$WORK/attacks/targets.json" <<'P'
import json, sys
print(json.dumps({**json.loads(sys.argv[1]), **json.loads(sys.argv[2])}))
P
    chmod 644 "$WORK/attacks/targets.json"
    "$@" /opt/ductile/plugins/climb/climb.py --targets "$WORK/attacks/targets.json" >"$WORK/attacks/$world.$account.json" 2>"$WORK/attacks/$world.$account.err"
}
