# Sourced by every case: TAP, people, targets. A case runs the same in a nest (driver-nest.sh) and on a booted host
# (driver-host.sh); the driver is chosen by $DRIVER.
set -uo pipefail
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
SRC=${SRC:-$([ -d /mnt/src ] && echo /mnt/src || echo /src)}
WORK=${NEST:-$(mktemp -d /tmp/case.XXXXXX)}
CASE=$(basename "$0" .sh)
. "$SRC/tests/lib/driver-${DRIVER:-nest}.sh"

# check NAME COMMAND...: one TAP line; what the command printed where it failed
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "ok - $CASE: $name"
    else
        echo "not ok - $CASE: $name"
        printf '%s\n' "$out" | sed 's/^/#   /' | tail -n "${CHECK_LINES:-60}"
    fi
}
# refuses CODE ID COMMAND...: it exits with CODE and says ID, what, why and what to do
refuses() {
    local code=$1 id=$2 out rc
    shift 2
    out=$("$@" 2>&1)
    rc=$?
    printf '%s\n(exit %s)\n' "$out" "$rc"
    [ "$rc" = "$code" ] && grep -q "$id" <<<"$out" && grep -q '^.*  why: .' <<<"$out" && grep -q '^.*  do:  .' <<<"$out"
}
not() { ! "$@"; }
note() { echo "# $*"; }
figure() { echo "# figure $CASE: $*"; }

# The operator of the tests, with things worth stealing, and somebody who owns uid 1001.
make_people() {
    local name=${1:-matt}
    getent passwd 1001 >/dev/null || useradd -M -u 1001 stranger 2>/dev/null
    getent group docker >/dev/null || groupadd -r docker
    useradd -m -s /bin/bash -G docker "$name" || return 1
    chmod 700 "/home/$name"
    setpriv --reuid="$name" --regid="$name" --init-groups env HOME="/home/$name" bash -c '
        set -e; cd ~; umask 077
        mkdir -p .ssh .config/gh ductile/plugins
        printf "not-a-real-key\n" >.ssh/id_ed25519; printf "oauth_token: gho_not_yours\n" >.config/gh/hosts.yml
        git config --global user.name "Operator"; git config --global user.email operator@example.org'
}
as() { # as USER COMMAND...
    local name=$1
    shift
    setpriv --reuid="$name" --regid="$name" --init-groups env HOME="/home/$name" "$@"
}

# What climb.py is aimed at: JSON. targets_for ACCOUNT OPERATOR
targets_for() {
    python3 - "$@" <<'P'
import json, pwd, sys
account, operator = sys.argv[1:3]
uid = lambda name: pwd.getpwnam(name).pw_uid
home = "/home/" + operator
t = {"secret-zero": "/etc/ductile/secret/age.key", "vault": "/var/lib/ductile/vault/vault.age",
     "ledger": "/var/lib/ductile/ledger/ductile.db", "config": "/etc/ductile/config.yaml",
     "siblings": ["/var/lib/ductile/accounts/" + n for n in ("default", "untrusted") if n != account],
     "floors": ["/var/lib/ductile", "/var/lib/ductile/accounts"],
     "uids": {"service": uid("ductile"), "bus": uid("ductile-bus"), "root": 0},
     "gids": {"service": pwd.getpwnam("ductile").pw_gid, "bus": pwd.getpwnam("ductile-bus").pw_gid},
     "api": "/run/ductile/api.sock", "pthreads": "/opt/wall/threads"}
own = home if account == operator else "/var/lib/ductile/accounts/" + account
t["twins"] = {"state": own} if account != operator else {"ssh": home + "/.ssh", "gh": home + "/.config/gh",
                                                         "code": home + "/ductile/plugins"}
if account != operator:
    t["operator"] = {"ssh": home + "/.ssh", "gh": home + "/.config/gh", "code": home + "/ductile/plugins",
                     "key": home + "/.ssh/id_ed25519"}
    t["uids"]["operator"] = uid(operator)
print(json.dumps(t))
P
}

# Adds FILE (YAML on stdin) to the config and applies it.
add_config() { cat >"/etc/ductile/plugins.d/$1.yaml"; }

install_wall() { # the compiled attacks: beside the sources on a booted host, in build/ in a nest
    local from=$SRC/build/wall
    [ -d "$from" ] || from=$SRC/build-wall
    mkdir -p /opt/wall && cp "$from"/* /opt/wall/ && chmod -R a+rX /opt/wall
}

job() { ductile job show --json "$1"; }
json() { python3 -c 'import json,sys; d=json.load(sys.stdin); print(eval(sys.argv[1], {"d": d}))' "$1"; }
ledger() { # SQL, read as the bus would
    sqlite3 -readonly /var/lib/ductile/ledger/ductile.db "$1"
}
