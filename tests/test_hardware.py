"""What the machine can do: the allocator's setting has an effect that can be counted."""

import subprocess
import sys

import pytest

from helpers import hardware

COUNT_FAULTS = """
import resource
import torch
from helpers import hardware

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(20_000_000) * 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

torch.set_num_threads(1)
faults()
before = faults()
assert hardware.keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux" or hardware.device() == "cuda", reason="glibc on a CPU only")
def test_kept_memory_costs_fewer_page_faults():
    shown = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    before, after = map(int, shown.stdout.split())
    assert after < before / 4, (before, after)
