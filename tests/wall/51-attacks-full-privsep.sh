#!/bin/bash
# The attack catalogue in the posture full-privsep: no account acts as the operator. The worlds are 50-attacks'.
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/attacks.sh"
attack_lab full-privsep || exit 1
start_gateway || exit 1
check "the posture is full-privsep" bash -c 'ductile status --json | grep -q "\"posture\": *\"full-privsep\""'
attack walled $ACCOUNTS
stop_gateway
"$SRC/tests/wall/attacks.py" judge "$WORK/attacks" "$CASE" --no-controls --no-credentialed
