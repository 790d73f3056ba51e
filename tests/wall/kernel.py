"""What this kernel has, for rows whose control cannot bite everywhere."""
import functools
import os
import subprocess

FOREIGN = [os.path.dirname(os.path.abspath(__file__)) + p for p in ("/../../build/wall/foreign", "/../../build-wall/foreign")]


@functools.cache
def has_ia32():
    """Can a 64-bit program make a call of the ia32 ABI? No on arm64, nor under a kernel started with ia32_emulation=off or one
    whose hypervisor has no gate for int 0x80: it faults there, wall or no wall. tests/unit/test_wall.c runs the filter over such
    calls instead."""
    return subprocess.run([next(filter(os.path.exists, FOREIGN)), "ia32"], stdout=subprocess.DEVNULL).returncode == 0
