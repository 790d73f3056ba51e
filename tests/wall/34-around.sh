#!/bin/bash
# Around the code: the interpreter that PATH finds, what python picks up by itself, who still has a file open when root
# takes it over, and a manifest that changes while it is locked.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
lab 2 || exit 1
mkdir -m 1777 "$WORK/leaks" && chmod 755 "$WORK"
HOME_CODE=/home/matt/ductile/plugins/finder
as matt cp -R "$SRC/tests/wall/plugins/keeper" "$HOME_CODE"
as matt sed -i 's/^name: keeper/name: finder/' "$HOME_CODE/manifest.yaml"
as matt sed -i '1s,.*,#!/usr/bin/env python3,' "$HOME_CODE/main.py"
as matt chmod -R go-w "$HOME_CODE"
echo 'plugins: {finder: {run_as: matt, retry: {max_attempts: 1}}, held: {run_as: default, retry: {max_attempts: 1}}}' | add_config around
ductile-install -q apply >/dev/null 2>&1
printf 'the-treasure-itself' | ductile vault secret set treasure >/dev/null
ductile vault grant treasure finder >/dev/null 2>&1
ductile plugin lock finder >/dev/null || exit 1
leaks() { ls "$WORK/leaks" | wc -l; }
good() { local s; s=$(run_job finder poll '{}' | json 'd.get("result")'); echo "$s; leaks $(leaks)"; [ "$s" = "{'kept': True}" ]; }

# ---- PATH ---------------------------------------------------------------------------------------------------------------
as matt bash -c "mkdir -m 755 ~/bin && printf '%s\n' '#!/bin/sh' 'cat >$WORK/leaks/\$\$' 'echo \"{\\\"status\\\":\\\"ok\\\",\\\"result\\\":1}\"' >~/bin/python3 && chmod 755 ~/bin/python3"
setfacl -m u:ductile:x /home/matt
evil_path=/home/matt/bin:relative:/usr/local/bin:/usr/bin:/bin
if [ "${DRIVER:-nest}" = host ]; then
    mkdir -p /etc/systemd/system/ductile.service.d && printf '[Service]\nEnvironment=PATH=%s\n' $evil_path >/etc/systemd/system/ductile.service.d/path.conf
else
    SERVICE_ENV="PATH=$evil_path"
fi
start_gateway || exit 1
no_leak() { good && [ "$(leaks)" = 0 ]; }
check "an interpreter in a PATH directory that the operator may write is not taken" no_leak
told() { gateway_log | grep 'do not get /home/matt/bin in PATH' && gateway_log | grep -q 'do not get relative in PATH'; }
check "the gateway says which directories it leaves out" told
stop_gateway
BREAK=inplace start_gateway || exit 1
taken() { run_job finder poll '{}' >/dev/null; grep -l the-treasure-itself "$WORK"/leaks/*; }
check "control: with PATH as it came, the interpreter there gets the secret" taken
stop_gateway
rm -f "$WORK"/leaks/* /etc/systemd/system/ductile.service.d/path.conf; SERVICE_ENV=

# ---- what python picks up by itself -----------------------------------------------------------------------------------------
planted() { # planted HOW: the same tree, with that in it, run by hand with a secret
    rm -rf "$WORK/p" "$WORK"/leaks/*; cp -a "$HOME_CODE" "$WORK/p"
    python3 - "$WORK/p" "$WORK/leaks" "$1" <<'P'
import importlib.util, marshal, os, struct, sys
tree, leaks, how = sys.argv[1:]
source, s = tree + "/lib/helper.py", os.stat(tree + "/lib/helper.py")
evil = "def keep(secret):\n    open('%s/%s', 'w').write(secret)\n    return True\n" % (leaks, how)
if how == "pyc":
    os.makedirs(tree + "/lib/__pycache__")
    with open(importlib.util.cache_from_source(source), "wb") as f:  # it says the source's time and size
        f.write(importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(s.st_mtime), s.st_size) + marshal.dumps(compile(evil, source, "exec")))
else:
    with open(tree + "/json.py", "w") as f:
        f.write("import sys\nopen('%s/%s', 'w').write(sys.stdin.read())\nsys.exit()\n" % (leaks, how))
P
    PYTHONDONTWRITEBYTECODE=1 python3 "$WORK/p/main.py" <<<'{"secrets":{"treasure":"the-treasure-itself"}}'
    grep -l the-treasure-itself "$WORK/leaks/$1"
}
check "control: a planted .pyc runs instead of its source" planted pyc
check "control: a module planted beside the script runs instead of the library's" planted json
rm -rf "$WORK/p" "$WORK"/leaks/*
start_gateway || exit 1
# A file that is no part of the lock: refused, and the audit row names it.
refused_with() { # refused_with FILE
    local j r; as matt bash -c "echo 'raise SystemExit(1)' >$HOME_CODE/$1"; j=$(enqueue finder poll '{}'); await "$j"; as matt rm -f "$HOME_CODE/$1"
    job "$j" | json '(d["state"], d["reason"])'
    [ "$(job "$j" | json 'd["state"]')" = refused ] && ledger "select detail from audit where kind='code.refused' and json_extract(detail,'\$.job')=$j" | grep -qF "added $1"
}
for f in sitecustomize.py usercustomize.py json.py lib/helper.pyc; do check "$f planted in the tree: refused, the audit row names it" refused_with $f; done
odd_name() { # a name that is no UTF-8 still makes a row
    local j f=$HOME_CODE/$'odd\xff\x80name'; as matt touch "$f"; j=$(enqueue finder poll '{}'); await "$j"; as matt rm -f "$f"
    job "$j" | json '(d["state"], d["reason"])'
    [ "$(job "$j" | json 'd["state"], d["reason"].split("; ")[0]')" = "('refused', 'not-attested: added odd??name')" ] && [ "$(ledger "select count(*) from audit where kind='code.refused' and json_extract(detail,'\$.job')=$j and detail like '%added odd%'")" = 1 ]
}
check "a file whose name is no text: refused, the job can be shown, the audit row is there" odd_name
check "without it, it runs again" good

# ---- taken over by chown while somebody has it open -------------------------------------------------------------------------
HELD=/opt/ductile/plugins/held
cp -R "$SRC/tests/wall/plugins/unruly" $HELD; mv $HELD/unruly.py $HELD/held.py
sed -i 's/^name: .*/name: held/; s/^entrypoint: .*/entrypoint: held.py/' $HELD/manifest.yaml
touch $HELD/module.py && echo '# what it was' >$HELD/module.py
chown -R matt: $HELD
cat >"$WORK/hold.py" <<'P'
import mmap, os, sys, time
with open(sys.argv[1], "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
m[:1] = m[:1]
print(os.getpid(), flush=True)
while not os.path.exists(sys.argv[2] + "/go"):
    time.sleep(0.05)
m[2:6] = b"evil"
time.sleep(600)
P
as matt python3 "$WORK/hold.py" $HELD/module.py "$WORK" >"$WORK/held" &
until [ -s "$WORK/held" ]; do sleep 0.05; done
chown -R root: $HELD; chmod -R go-w,a+rX $HELD
check "code that somebody has mapped for writing is not locked, though root owns it now" refuses 65 PLUG-LOAD-01 ductile plugin lock held
stores() { local a b; a=$(stat -c '%i %s %y %z' $HELD/module.py); touch "$WORK/go"; sleep 0.3; b=$(stat -c '%i %s %y %z' $HELD/module.py); cat $HELD/module.py; [ "$a" = "$b" ] && grep -q evil $HELD/module.py; }
check "control: who had it open changes it, and no time tells" stores
kill -KILL "$(cat "$WORK/held")"; sleep 0.2
lets_go() { ductile plugin lock held && sleep 0.3 && run_job held poll '{}' | json 'd["state"]' | grep -q succeeded; }
check "once it is let go of, it is locked and runs" lets_go
stop_gateway

# ---- a manifest that changes while it is locked --------------------------------------------------------------------------------
as matt cp "$HOME_CODE/manifest.yaml" /home/matt/with; as matt bash -c 'grep -v requires_secrets ~/with >~/without'
cat >"$WORK/flip.py" <<'P'
import os, sys
os.chdir("/home/matt")
print(os.getpid(), flush=True)
while True:
    for name in ("with", "without"):
        os.link(name, name + ".new")
        os.rename(name + ".new", sys.argv[1] + "/manifest.yaml")
        open(name + ".copy", "wb").write(open(name, "rb").read())
        os.rename(name + ".copy", name)
P
as matt python3 "$WORK/flip.py" "$HOME_CODE" >"$WORK/flipper" 2>"$WORK/flip.log" &
with=$(b2sum -l 256 /home/matt/with | cut -d' ' -f1) without=$(b2sum -l 256 /home/matt/without | cut -d' ' -f1)
locked=0 refused=0 wrong=0
for n in $(seq 500); do # until the race was met, and then some
    [ "$n" -lt 60 ] || [ $refused = 0 ] || break
    if ductile plugin lock finder >/dev/null 2>&1; then locked=$((locked + 1)); else refused=$((refused + 1)); fi
    block=$(sed -n '/^plugin finder/,/^end/p' /etc/ductile/plugins.lock)
    needs=$(grep -c '^requires treasure' <<<"$block") hash=$(sed -n 's/^manifest //p' <<<"$block")
    case $hash in "$with") [ $needs = 1 ] || wrong=$((wrong + 1)) ;; "$without") [ $needs = 0 ] || wrong=$((wrong + 1)) ;; *) wrong=$((wrong + 1)) ;; esac
done
kill -KILL "$(cat "$WORK/flipper")"
figure "locks while the manifest flips: $locked locked, $refused refused, $wrong with needs that are not its manifest's"
flips() { cat "$WORK/flip.log"; echo "$locked locked, $refused refused, $wrong wrong"; [ $refused -gt 0 ] && [ $wrong = 0 ]; }
check "what a lock takes from a manifest is of the bytes it fingerprints" flips
