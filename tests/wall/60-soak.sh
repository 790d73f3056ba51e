#!/bin/bash
# Many spawns leave nothing: no zombie, descriptor, cgroup, pipe or temporary file, and the warden stays small.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
N=${SOAK:-1000}
lab 2 || exit 1
mkdir "$WORK/answer" && cp /opt/wall/answer "$WORK/answer/answer" && chmod 755 "$WORK/answer/answer"
cat >"$WORK/answer/manifest.yaml" <<'Y'
manifest_spec: ductile.plugin
manifest_version: 1
name: answer
version: 1.0.0
protocol: 2
entrypoint: answer
description: Says ok.
commands: [{name: poll, type: write}]
Y
echo 'plugins: {answer: {run_as: default, retry: {max_attempts: 1}}}' | add_config answer
ductile-install -q apply >/dev/null 2>&1
ductile plugin add "$WORK/answer" >/dev/null && ductile plugin lock answer >/dev/null || exit 1
for how in cgroup supervisor; do
    n=$N
    [ $how = supervisor ] && n=$((N / 10))
    if [ $how = cgroup ]; then start_gateway || exit 1; else start_gateway --no-cgroup || exit 1; fi
    slots=-
    [ $how = cgroup ] && slots=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(warden_pid)/cgroup" | sed 's,/warden$,,') && [ ! -d "$slots" ] && slots=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)${slots#/sys/fs/cgroup}
    "$SRC/tests/wall/soak.py" /run/ductile/api.sock answer $n "$(warden_pid)" "$slots" >"$WORK/soak.json" || cat "$WORK/soak.json"
    figure "soak, $how: $(cat "$WORK/soak.json")"
    all() { ledger "select state, reason, count(*) from job where plugin='answer' group by 1, 2"; [ "$(ledger "select count(*) from job where plugin='answer' and state<>'succeeded'")" = 0 ] && [ "$(json 'd["last"] >= d["jobs"]' <"$WORK/soak.json")" = True ]; }
    check "$how: every one of the jobs succeeded" all
    judge() { json "$1" <"$WORK/soak.json" | grep -qx True || { cat "$WORK/soak.json"; return 1; }; }
    check "$how: no zombie and no child is left" judge 'd["after"]["zombies"] == 0 and d["after"]["children"] == d["before"]["children"]'
    check "$how: no descriptor is left" judge 'd["after"]["fds"] == d["before"]["fds"]'
    check "$how: no cgroup and no temporary file is left" judge 'd["after"]["cgroups"] == d["before"]["cgroups"] <= 2 and d["after"]["temp"] == d["before"]["temp"]'
    [ -n "${SAN:-}" ] || check "$how: the warden does not grow (64 KiB) and stays below 6 MiB" judge 'd["after"]["rss_kib"] - d["before"]["rss_kib"] < 64 and d["after"]["rss_kib"] < 6144'
    stop_gateway
done
