# Sourced after common.sh by cases about the vault.
VAULT=/var/lib/ductile/vault/vault.age
KEY=/etc/ductile/secret/age.key
# edit_vault PYTHON: the document d, changed by other means than ours (the age tool), put in place by rename; its
# generation is one higher unless PYTHON says otherwise
edit_vault() {
    local to
    to=$(sed -n 's/^# public key: //p' "$KEY"; age-keygen -y "$KEY" 2>/dev/null)
    age -d -i "$KEY" "$VAULT" | python3 -c '
import json, sys
d = json.load(sys.stdin); d["generation"] += 1
exec(sys.argv[1])
json.dump(d, sys.stdout)' "$1" | age -r "$(head -1 <<<"$to")" -o "$VAULT.edit" || return 1
    chown ductile:ductile "$VAULT.edit" && chmod 600 "$VAULT.edit" && mv "$VAULT.edit" "$VAULT"
}
generation() { age -d -i "$KEY" "$VAULT" | json 'd["generation"]'; }

# held: the bus has asked for a spawn of keeper (JOB), and the stopped warden has not seen it yet
held() {
    kill -STOP "$(warden_pid)"
    JOB=$(enqueue keeper poll '{}')
    echo "$JOB" >"$WORK/job"
    for _ in $(seq 100); do [ "$(job "$JOB" | json 'd["state"]')" = running ] && return 0; sleep 0.05; done
    return 1
}
denied() { gateway_log | grep -c "audit secret.denied keeper .*\\\\\"job\\\\\":$1,"; }
# full: a delivery to keeper while the ledger's disk, which is small, has no byte left; JOB in $WORK/job
full() {
    local JOB
    held || return 1
    JOB=$(cat "$WORK/job")
    local pad out
    dd if=/dev/zero of=/var/lib/ductile/filler bs=4096 status=none 2>/dev/null
    for pad in 60000 30000 4000 100 100 100 100; do
        for _ in $(seq 200); do
            out=$(ductile job enqueue --json unruly handle --payload "{\"mode\": \"calm\", \"pad\": \"$(head -c $pad /dev/zero | tr '\0' x)\"}" 2>&1) || break
        done
    done
    echo "$out"
    grep -q 'database or disk is full' <<<"$out" || return 1
    kill -CONT "$(warden_pid)"
    for _ in $(seq 150); do [ "$(denied "$JOB")" = 1 ] && break; sleep 0.05; done
    echo "denied: $(denied "$JOB")"; [ "$(denied "$JOB")" = 1 ] || return 1
    rm /var/lib/ductile/filler
    await "$JOB" 60; job "$JOB" | json 'd["state"], d["reason"]'
    [ "$(job "$JOB" | json 'd["state"]')" = refused ] && job "$JOB" | json 'd["reason"]' | grep -q 'the ledger did not take the delivery' &&
        [ "$(ledger "select count(*) from audit where kind='secret.delivered' and json_extract(detail,'\$.job')=$JOB")" = 0 ] &&
        [ "$(gateway_log | grep -c "audit secret.delivered keeper .*\\\\\"job\\\\\":$JOB,")" = 0 ]
}
