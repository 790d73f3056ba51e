#!/bin/bash
# Two who change the vault at once, and one who reads it: nothing is lost, everything is written down. WRITERS_OPS: how
# many operations.
# not: wall-san, host, wall-abi2 (processes and a lock: the same in a nest)
. "$(dirname "$0")/../lib/common.sh"
install_suite && make_people matt || exit 1
ductile-install -q init --posture hybrid --operator matt >/dev/null && ductile-install -q apply >/dev/null 2>&1 || exit 1
python3 "$SRC/tests/wall/writers.py" "${WRITERS_OPS:-60}" "${WRITERS_SEED:-$RANDOM}" >"$WORK/out"
code=$?
grep '^# figure' "$WORK/out"
all_of_it() { cat "$WORK/out"; return $code; }
check "no update is lost, each operation is a row, generations rise by one, and every read opens" all_of_it
unlocked() { # the same without the lock: updates are lost, and it says so
    cc -shared -fPIC -o "$WORK/unlocked.so" -x c - <<<'int flock(int fd, int how) { (void)fd; (void)how; return 0; }' || return 1
    ! LD_PRELOAD=$WORK/unlocked.so python3 "$SRC/tests/wall/writers.py" 60 7 >"$WORK/out" || { cat "$WORK/out"; return 1; }
    cat "$WORK/out"
}
check "control: without the lock this finds what is lost" unlocked
