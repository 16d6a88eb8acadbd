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


def test_patches_by_matrix_product_are_those_of_the_convolution():
    import torch
    from transformers import AutoModelForImageTextToText

    from helpers.profiles import ROOT

    folder = ROOT / "data" / "checkpoints" / "small-vlm"
    tower = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").model.visual
    patches = torch.randn(70 * 4, 768, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([[1, 20, 14]])

    def outcome():
        tower.zero_grad()
        tokens = tower(patches, grid_thw=grid).pooler_output
        tokens.square().sum().backward()
        return tokens.detach(), tower.patch_embed.proj.weight.grad.clone()

    names = list(tower.state_dict())
    (tokens, slope), changed = outcome(), hardware.multiply_patches(tower)
    again, slope_again = outcome()
    assert changed == 1 and list(tower.state_dict()) == names
    assert torch.allclose(tokens, again, atol=1e-5)
    assert torch.allclose(slope, slope_again, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert hardware.multiply_patches(torch.nn.Linear(2, 2)) == 0
