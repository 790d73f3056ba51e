#!/bin/bash
# After a lock, each change alone is refused, no secret leaves, and an audit row names the file. Then the races.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
RUNS=${SWAP_RUNS:-25}

HOME_CODE=/home/matt/ductile/plugins/keeper
OPT_CODE=/opt/ductile/plugins/keeper_opt
as matt cp -R "$SRC/tests/wall/plugins/keeper" /home/matt/ductile/plugins/
as matt chmod -R go-w "$HOME_CODE"
cp -R "$SRC/tests/wall/plugins/keeper" "$OPT_CODE"; chown -R root:root "$OPT_CODE"; chmod -R go-w,a+rX "$OPT_CODE"
sed -i 's/^name: keeper/name: keeper_opt/' "$OPT_CODE/manifest.yaml"
add_config keeper <<'Y'
plugins:
  keeper: {run_as: matt, retry: {max_attempts: 1}}
  keeper_opt: {run_as: untrusted, retry: {max_attempts: 1}}
Y
ductile-install -q apply >/dev/null 2>&1
printf 'the-treasure-itself' | ductile vault secret set treasure >/dev/null
ductile vault grant treasure keeper >/dev/null && ductile vault grant treasure keeper-opt >/dev/null
check "home code is locked into a root-owned copy" bash -c "ductile plugin lock keeper keeper_opt && [ \"\$(stat -c %U:%a /opt/ductile/locked/keeper/*/main.py)\" = root:755 ]"
start_gateway || exit 1

result_of() { run_job "$1" poll '{}' | json 'd.get("result")'; }
delivered() { ledger "select count(*) from audit where kind='secret.delivered' and json_extract(detail,'\$.job')=$1"; }
good() { [ "$(result_of "$1")" = "{'kept': True}" ]; }
check "unchanged home code runs and gets its secret" good keeper
check "unchanged /opt code runs and gets its secret" good keeper_opt
ran_from() { ledger "select detail from audit where kind='plugin.locked' and subject='keeper'" | grep -q /opt/ductile/locked/keeper/; }
check "what runs is the root-owned copy" ran_from

# refused_for PLUGIN FILE: the spawn is refused, nothing was delivered, and the audit row names the file
refused_for() {
    local plugin=$1 file=$2 j
    j=$(enqueue "$plugin" poll '{}')
    await "$j" || return 1
    job "$j" | json '(d["state"], d["reason"])'
    [ "$(job "$j" | json 'd["state"]')" = refused ] || return 1
    [ "$(delivered "$j")" = 0 ] || { echo "a secret was delivered"; return 1; }
    ledger "select kind, detail from audit where json_extract(detail,'\$.job')=$j" | grep "code.refused" | grep -qF -- "$file" || {
        ledger "select kind, detail from audit where json_extract(detail,'\$.job')=$j"; return 1; }
}
# mutation NAME FILE 'CHANGE' : in a copy of the tree's state, for home and /opt; restored afterwards
mutation() {
    local name=$1 file=$2 change=$3 dir plugin who
    for plugin in keeper keeper_opt; do
        [ $plugin = keeper ] && dir=$HOME_CODE who=matt || { dir=$OPT_CODE who=root; }
        rm -rf "$WORK/saved"; cp -a "$dir" "$WORK/saved"
        if [ $who = matt ]; then as matt bash -c "cd $dir && $change"; else bash -c "cd $dir && $change"; fi
        check "$plugin: $name" refused_for $plugin "$file"
        if [ $who = matt ]; then as matt find "$dir" -mindepth 1 -delete; else find "$dir" -mindepth 1 -delete; fi
        cp -a "$WORK/saved/." "$dir/"
        check "$plugin: put back after $name, it runs again" good $plugin
    done
}
mutation "one byte changed" main.py "sed -i 's/Keeps/Leaks/' main.py"
mutation "a module changed" lib/helper.py "echo '# x' >>lib/helper.py"
mutation "a file added" extra.txt "echo x >extra.txt"
mutation "a file removed" data.txt "rm data.txt"
mutation "a symlink retargeted" link.py "ln -sfn data.txt link.py"
mutation "made executable" data.txt "chmod +x data.txt"
mutation "a .pyc added" lib/__pycache__ "mkdir -p lib/__pycache__ && echo x >lib/__pycache__/helper.cpython-311.pyc"
mutation "a directory swapped by rename" lib/helper.py "cp -a lib ../lib.evil && echo '# y' >>../lib.evil/helper.py && mv lib ../lib.good && mv ../lib.evil lib && rm -rf ../lib.good"
mutation "mtime restored after the change" main.py "touch -r main.py ../stamp && sed -i 's/Keeps/Leaks/' main.py && touch -r ../stamp main.py && rm ../stamp"

# ---- who may write what runs ---------------------------------------------------------------------------------------------
writable() { chmod o+w "$OPT_CODE/lib"; refused_for keeper_opt "$OPT_CODE/lib"; local r=$?; chmod o-w "$OPT_CODE/lib"; return $r; }
check "code that others may write does not run, unchanged as it is" writable
unreadable() { as matt chmod 700 /home/matt; local j r; j=$(enqueue keeper poll '{}'); await "$j"; [ "$(job "$j" | json 'd["reason"].split(":")[0]')" = cannot-attest ]; r=$?; ductile-install -q apply >/dev/null 2>&1; return $r; }
check "cannot check is told apart from does not match (chmod 700 ~ emptied the ACL's mask)" unreadable
check "apply sets the ACL anew, and it runs again" good keeper
unlocked() { as matt cp -R "$HOME_CODE" "${HOME_CODE}2"; as matt sed -i 's/^name: keeper/name: keeper2/' "${HOME_CODE}2/manifest.yaml"; refuses 65 API-CALL-03 ductile job run keeper2 poll; }
check "a plugin that was never locked cannot be started" unlocked
new_lock() { as matt bash -c "cd $HOME_CODE && echo '# new' >>lib/helper.py"; refused_for keeper lib/helper.py && ductile plugin lock keeper >/dev/null && sleep 0.3 && good keeper; }
check "a new lock takes effect at once, without a restart" new_lock
not_granted() { ductile vault secret set other --auto >/dev/null; mkdir "$WORK/n"; cp -R "$OPT_CODE" "$WORK/n/keeper_x"; sed -i 's/^name:.*/name: keeper_x/' "$WORK/n/keeper_x/manifest.yaml"
    ductile plugin add "$WORK/n/keeper_x" >/dev/null; ductile plugin lock keeper_x >/dev/null; sleep 0.3
    local j; j=$(enqueue keeper_x poll '{}'); await "$j"; job "$j" | json 'd["reason"]' | grep -q "secret-missing.*treasure is not granted to keeper-x"; }
check "a declared secret that was not granted refuses the spawn" not_granted

# ---- races --------------------------------------------------------------------------------------------------------------
evil() { # a tree whose code tells what it got
    rm -rf "$WORK/evil" "$WORK/leaks"; mkdir -p "$WORK/leaks"; cp -R "$SRC/tests/wall/plugins/keeper" "$WORK/evil"
    local tell="import os; open('$WORK/leaks/%d' % os.getpid(), 'w').write"
    cat >"$WORK/evil/main.py" <<P
#!/usr/bin/python3
import json, sys
r = json.load(sys.stdin)
$tell(r["secrets"]["treasure"])
print('{"status": "ok", "result": {"kept": true}}')
P
    printf '%s\n' "def keep(secret):" "    $tell(secret)" "    return True" >"$WORK/evil/lib/helper.py"
    chmod -R a+rX "$WORK" && chmod 1777 "$WORK/leaks" && chmod +x "$WORK/evil/main.py"
}
swap() { # swap WHAT: leaks of RUNS runs; the attacker is matt, who owns the home
    evil
    chmod 755 "$WORK"
    usermod -aG ductile-operators matt
    as matt env PYTHONDONTWRITEBYTECODE=1 "$SRC/tests/wall/swap.py" $HOME_CODE "$WORK/evil" "$1" "$RUNS" "$WORK/leaks" -- /usr/local/bin/ductile job run -q keeper poll >"$WORK/swap.$1.$2.json"
    cat "$WORK/swap.$1.$2.json"
}
field() { python3 -c "import json;print(json.load(open('$1'))['$2'])"; }
for what in script module parent; do
    swap $what ours >/dev/null
    figure "swap $what after exec, locked copy: $(cat "$WORK/swap.$what.ours.json")"
    check "$what swapped 0-30 ms after exec: no secret to changed code" test "$(field "$WORK/swap.$what.ours.json" leaks) $(($(field "$WORK/swap.$what.ours.json" swapped) * 2 >= RUNS))" = "0 1"
done
stop_gateway
BREAK=inplace start_gateway || exit 1
leaks() { # a race: more of the same, until it was lost once
    for _ in 1 2 3 4 5 6 7 8; do
        swap "$1" control
        [ "$(field "$WORK/swap.$1.control.json" leaks)" -gt 0 ] && return
    done
}
for what in script module parent; do
    leaks $what >/dev/null
    figure "swap $what after exec, control (executed in place with a hash check): $(cat "$WORK/swap.$what.control.json")"
    check "control: executed in place with a hash check, a swapped $what leaks" test "$(field "$WORK/swap.$what.control.json" leaks)" -gt 0
done
stop_gateway
