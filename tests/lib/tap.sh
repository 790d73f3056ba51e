# Sourced by suites that need no gateway: one TAP line per check, and what the command printed where it failed.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then echo "ok - $name"; else echo "not ok - $name"; printf '%s\n' "$out" | tail -40 | sed 's/^/#   /'; fi
}
figure() { echo "# figure $*"; }
