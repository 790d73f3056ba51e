#!/bin/bash
# Races between lock, check, exec and read, by somebody who owns the code's directory: no secret to changed code. The
# control executes the same code in place, behind the same hash check, and leaks.
# not: wall-san (races, whose controls are of build/broken)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 4 || exit 1
LOOPS=${SWAP_LOOPS:-25} # of script and module; the others have RUNS
RUNS=${SWAP_RUNS:-25}
CONTROL=${SWAP_CONTROL:-100} # more than a few, or one in ten means nothing
ROOT=/home/matt/ductile/plugins
for n in a b c d; do
    as matt cp -R "$SRC/tests/wall/plugins/keeper" "$ROOT/keeper_$n"
    as matt sed -i "s/^name: keeper/name: keeper_$n/" "$ROOT/keeper_$n/manifest.yaml"
    as matt bash -c "printf '# %0200d\\n' 0 >>$ROOT/keeper_$n/lib/helper.py" # a store through a mapping cannot make it longer
    echo "  keeper_$n: {run_as: matt, retry: {max_attempts: 1}}"
done | sed '1i plugins:' | add_config keepers
SIDE_BY_SIDE=$(printf ",$ROOT/keeper_%s" a b c d)
as matt chmod -R go-w "$ROOT"
ductile-install -q apply >/dev/null 2>&1
printf 'the-treasure-itself' | ductile vault secret set treasure >/dev/null
for n in a b c d; do ductile vault grant treasure keeper-$n >/dev/null; done
ductile plugin lock keeper_a keeper_b keeper_c keeper_d >/dev/null || exit 1
usermod -aG ductile-operators matt
chmod 755 "$WORK"

evil() { # a tree whose code tells what it got
    rm -rf "$WORK/evil" "$WORK/leaks"*; mkdir -p "$WORK/evil/lib" "$WORK/leaks"
    local tell="import os, time; open('$WORK/leaks/%d-%d' % (os.getpid(), time.time_ns()), 'w').write"
    printf '%s\n' '#!/usr/bin/python3' 'import json, sys' 'r = json.load(sys.stdin)' "$tell(r['secrets']['treasure'])" \
        "print('{\"status\": \"ok\", \"result\": {\"kept\": true}}')" >"$WORK/evil/main.py"
    printf '%s\n' "def keep(secret):" "    $tell(secret)" "    return True" >"$WORK/evil/lib/helper.py"
    chmod -R a+rX "$WORK/evil" && chmod 1777 "$WORK/leaks" && chmod +x "$WORK/evil/main.py"
}
race() { # race WHAT WHERE RUNS: WHERE is ours or control
    local plugins=${SIDE_BY_SIDE#,}
    evil
    [ "$1" = parent ] || [ "$1" = mapping ] && plugins=$ROOT/keeper_a
    chmod 1777 "$WORK"
    if [ "$1" = mapping ]; then # the mapping is older than the lock
        rm -rf /opt/ductile/locked/keeper_a
        { until [ -e "$WORK/leaks.mapped" ]; do sleep 0.05; done; ductile plugin lock keeper_a >/dev/null; sleep 0.3; touch "$WORK/leaks.locked"; } &
    fi
    as matt "$SRC/tests/wall/swap.py" "$plugins" "$WORK/evil" "$1" "$3" "$WORK/leaks" >"$WORK/swap.$1.$2.json"
    figure "swap $1, $([ $2 = ours ] && echo 'locked copy' || echo 'control (executed in place behind a hash check)'): $(cat "$WORK/swap.$1.$2.json")"
}
judge() { json "$2" <"$WORK/swap.$1.json" | grep -qx True || { cat "$WORK/swap.$1.json"; return 1; }; }
held() { judge "$1.ours" 'd["leaks"] == 0 and d["answered"] == d["runs"] and d["swapped"] * 10 >= d["runs"] * 9'; }
bites() { judge "$1.control" 'd["leaks"] * 10 > d["runs"]'; }

start_gateway || exit 1
for what in script module; do race $what ours "$LOOPS"; check "$what swapped 0-30 ms after exec, in a loop: no secret to changed code, each run answered" held $what; done
for what in parent mapping; do race $what ours "$RUNS"; done
check "the parent swapped and restored: no secret to changed code, each run answered" held parent
check "stores through a mapping older than the lock: no secret to changed code, each run answered" held mapping
race before ours "$RUNS"
check "swapped before the exec: refused or unchanged code, no secret to another" judge before.ours 'd["leaks"] == 0 and d["answered"] + d["refused"] == d["runs"] == d["swapped"]'
stop_gateway
BREAK=inplace start_gateway || exit 1
for what in script module parent mapping before; do
    race $what control "$CONTROL"
    check "control: executed in place behind a hash check, $what leaks in more than one run of ten" bites $what
done
stop_gateway
# Why a hash may not be cached where somebody may write: nothing that stat tells has changed.
unseen() {
    as matt python3 - "$ROOT/keeper_a/main.py" <<'P'
import hashlib, mmap, os, sys
look = lambda: ((s := os.stat(sys.argv[1])).st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
digest = lambda: hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()
with open(sys.argv[1], "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
m[:1] = m[:1]
stat, content = look(), digest()
m[-1:] = b"#"
sys.exit(not (look() == stat and digest() != content))
P
}
check "control: a store through a mapping changes the content and no time" unseen
