#!/bin/bash
# gate.sh: what the gate's check at boot costs (short form; with the ledger, which gets a row each time), and how that
# grows with accounts and plugins. In a nest; medians, because nothing promises an idle machine. BENCH_RUNS, BENCH_SIZES.
. "$(dirname "$0")/../lib/common.sh"
install_suite && make_people matt >/dev/null || exit 1
ductile-install -q init --posture hybrid --operator matt >/dev/null
ductile-install -q apply >/dev/null 2>&1 || exit 1
mkdir -p "$WORK/plugins"
cat >"$WORK/measure.py" <<'P'
import os, statistics, subprocess, sys, time
def once(command):
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    return (time.perf_counter() - began) * 1000, os.waitstatus_to_exitcode(status), (used.ru_utime + used.ru_stime) * 1000
runs, command = int(sys.argv[1]), sys.argv[2:]
once(command)
times = sorted(once(command) for _ in range(runs))
ms = [t[0] for t in times]
print("%.1f %.1f %.1f %.1f %d" % (statistics.median(ms), ms[0], ms[-1], statistics.median(t[2] for t in times), times[0][1]))
P
measure() { as_service python3 "$WORK/measure.py" "$@"; }
chmod -R a+rX "$WORK"
world() { # world ACCOUNTS PLUGINS: default, untrusted, the operator, and a4, a5, ...; the plugins are dealt out to them
    {
        [ "$1" -lt 4 ] || { echo "accounts:"; for i in $(seq 4 "$1"); do echo "  a$i: {}"; done; }
        echo "plugins:"
        for i in $(seq "$2"); do
            local a=$((1 + i % $1))
            [ $a -lt 4 ] && a=$(cut -d' ' -f$a <<<"default untrusted matt") || a=a$a
            echo "  p$i: {run_as: $a}"
        done
    } >/etc/ductile/plugins.d/bench.yaml
    for i in $(seq "$2"); do
        d=/opt/ductile/plugins/p$i
        [ -d "$d" ] && continue
        mkdir "$d" && sed "s/^name: .*/name: p$i/" "$SRC/share/plugins/_template/manifest.yaml" >"$d/manifest.yaml"
        cp "$SRC"/share/plugins/_template/*.py "$d/" 2>/dev/null
    done
    chmod -R go-w,a+rX /opt/ductile/plugins
    ductile-install -q apply >/dev/null 2>"$WORK/apply" || { cat "$WORK/apply"; exit 1; }
    ductile plugin lock $(seq -f 'p%g' "$2") >/dev/null 2>"$WORK/lock" || { tail -3 "$WORK/lock"; exit 1; }
}
printf '%-10s %-9s %10s %8s %8s %8s   %s\n' accounts plugins 'median ms' min max 'cpu ms' 'exit (0: may start)'
echo "nothing    (true)    $(measure "${BENCH_RUNS:-21}" /bin/true | awk '{ printf "%10s %8s %8s %8s", $1, $2, $3, $4 }')"
for size in ${BENCH_SIZES:-3:25 10:25 50:25 100:25 200:25 3:100 3:500 3:1000 200:1000}; do
    world "${size%:*}" "${size#*:}"
    measure "${BENCH_RUNS:-21}" /usr/local/bin/ductile-gate check --boot -q | awk -v a="${size%:*}" -v p="${size#*:}" '{ printf "%-10s %-9s %10s %8s %8s %8s   %s\n", a, p, $1, $2, $3, $4, $5 }'
    [ -z "${BENCH_PROVE:-}" ] || measure 5 /usr/local/bin/ductile-gate prove -q | awk '{ printf "%-20s %10s %8s %8s %8s   %s\n", "  prove, all of it", $1, $2, $3, $4, $5 }'
    rm -f /etc/ductile/plugins.d/bench.yaml
done
