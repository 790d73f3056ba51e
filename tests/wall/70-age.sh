#!/bin/bash
# ductile-vault encrypt, decrypt and keygen beside Debian's age, as a user who has no config: what one writes the other
# reads, and what one refuses the other refuses. AGE_DIFF: damaged files tried by both. AGE_MIB: size of the large one.
# not: host, wall-san, wall-abi2 (a program without privileges, and the booted tree has no age; sanitized, the fuzzers run it)
. "$(dirname "$0")/../lib/common.sh"
install_suite
make_people
install -d -o matt -g matt -m 700 /home/matt/age
cd /home/matt/age || exit 1
as matt python3 -B "$SRC/tests/wall/age.py" "${AGE_DIFF:-300}" "${AGE_MIB:-16}"
