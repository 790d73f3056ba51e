#!/bin/bash
# Faults of an installed host, one at a time: the gate, run as the unit would, finds each by its id, and nothing else.
# Beside the lab's hybrid instance there are two more, `ductile-full` (all confined) and `ductile-bare` (unconfined).
# not: wall-san, wall-abi2, host (the same decisions in a slower build; the real unit, its gate and real sudo: 50-refusals, 66-doors)
# Mounts are among the faults: they are made where only this script and its children see them.
[ -n "${PRIVATE:-}" ] || PRIVATE=1 exec unshare --mount --propagation private bash "$0" "$@"
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
homely() { # a plugin that the operator edits at home
    mkdir -p ~/ductile/plugins/homely && cp -R "$SRC/share/plugins/_template/." ~/ductile/plugins/homely/ &&
        sed -i 's/^name: .*/name: homely/' ~/ductile/plugins/homely/manifest.yaml
}
export -f homely
export SRC WORK CASE
as matt bash -c homely
{
    echo 'plugin_roots: [/opt/ductile/plugins, /home/matt/ductile/plugins]'
    echo 'plugins: {homely: {run_as: matt}}'
} >/etc/ductile/plugins.d/home.yaml
ductile-install -q apply >/dev/null 2>"$WORK/apply.log" && ductile plugin lock homely >/dev/null || { cat "$WORK/apply.log"; exit 1; }
printf 'treasure-of-the-lab' | ductile vault secret set treasure >/dev/null
for other in full:full-privsep bare:unconfined; do
    ductile-install -i "ductile-${other%:*}" -q init --posture "${other#*:}" >/dev/null &&
        ductile-install -i "ductile-${other%:*}" -q apply >/dev/null 2>"$WORK/apply.log" || { cat "$WORK/apply.log"; exit 1; }
done
rm -f /var/lib/ductile*/ledger/* # what apply wrote down; a gate makes no ledger
# The kernel's settings are the machine's; what this test reads there is what Debian has.
export PIDS=$WORK/pids
. "$SRC/tests/gate/faults.sh"
for name in hardlinks symlinks fifos regular; do proc_sys "fs.protected_$name" 1; done
proc_sys fs.suid_dumpable 2
proc_sys kernel.core_pattern core
# The operator is in docker, owns ~/.ssh and the files of a login shell.
export CONSENT="hybrid:GATE-DOOR-01,GATE-DOOR-02 bare:GATE-LOUD-01"
python3 "$SRC/tests/gate/mutate.py" ${ONLY:+--only "$ONLY"} "$SRC"/tests/gate/{blind,faults}.def
