#!/bin/bash
# On the booted host: see spawn.py.
exec python3 /src/tests/bench/spawn.py
