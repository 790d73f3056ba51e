#!/bin/bash
# One layer at a time is taken out of the wall (layers.def), and the whole catalogue is tried again: only what the table says
# that no other layer holds may open, and that must.
# not: wall-san, host (every gateway in it is of build/broken)
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/lib/lab.sh"
. "$SRC/tests/lib/attacks.sh"
attack_lab hybrid || exit 1
while IFS='|' read -r layer layers _; do
    case $layer in '#'* | '') continue ;; esac
    world "$(echo $layer)" "$(echo $layers)" default matt
done <"$SRC/tests/wall/layers.def"
"$SRC/tests/wall/attacks.py" layers "$WORK/attacks" "$CASE"
