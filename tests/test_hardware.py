"""What the machine can do: the allocator's setting has an effect that can be counted."""

import os
import subprocess
import sys

import pytest

from helpers import hardware
from tools import needs
from tools.fast_vision import fast_vision

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


RESIDENT = """
import sys
import torch
from helpers import hardware

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 1e6
"""

HOLES = """
assert hardware.keep_freed_memory()
made = [torch.ones(250_000) for _ in range(400)]  # a megabyte each
kept = made[::2]
del made
before = resident()
assert hardware.give_back_freed_memory()
print(before - resident())
assert all(bool((tensor == 1).all()) for tensor in kept)
"""


@pytest.mark.skipif(sys.platform != "linux" or hardware.device() == "cuda", reason="glibc on a CPU only")
def test_freed_memory_between_tensors_is_given_back():
    shown = subprocess.run([sys.executable, "-c", RESIDENT + HOLES], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert 150 < float(shown.stdout) < 260  # of 200 MB


SHAPES = """
if sys.argv[1] == "few":
    hardware.keep_freed_memory()
torch.set_num_threads(1)
layer = torch.nn.Linear(256, 512)
def compute(rows):
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(rows, 256)).sum().backward()

compute(500)
before = resident()
for rows in range(100, 400):
    compute(rows)
print(resident() - before)
"""


@pytest.mark.skipif(not (sys.platform == "linux" and hardware.use_bf16()), reason="no bfloat16 on this CPU")
@pytest.mark.skipif(hardware.device() == "cuda", reason="on a CPU only")
def test_kernels_of_many_shapes_do_not_add_up():
    grown = {}
    # not what another test may have set in this process
    fresh = {name: value for name, value in os.environ.items() if name not in hardware._KERNEL_CACHES}
    for mode in ("all", "few"):
        command = [sys.executable, "-c", RESIDENT + SHAPES, mode]
        shown = subprocess.run(command, capture_output=True, text=True, env=fresh)
        assert shown.returncode == 0, shown.stderr
        grown[mode] = float(shown.stdout)
    assert grown["few"] < grown["all"] / 3, grown


@pytest.mark.skipif(sys.platform == "win32", reason="no figure for ended processes there")
def test_memory_of_an_ended_process_counts():
    before = hardware.peak_memory_mb(started=True)
    held = int(before) + 200
    subprocess.run([sys.executable, "-c", f"bytearray(b'x') * {held * 10**6}"], check=True)
    assert held < hardware.peak_memory_mb(started=True) < held + 200
    assert hardware.peak_memory_mb() < held  # this one's own


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_faster_vision_tower_gives_what_the_librarys_gives(attention, monkeypatch):
    import torch
    from transformers import AutoModelForImageTextToText

    from helpers.course.profiles import ROOT

    folder = ROOT / "data" / "checkpoints" / "small-vlm"
    monkeypatch.setattr("tools.fast_vision._TOGETHER", 2)  # three of the four have as many patches
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype="float32", attn_implementation=attention
    )
    tower = model.model.visual
    grid = torch.tensor([[1, 20, 14], [1, 14, 20], [1, 12, 22], [1, 20, 14]])  # sizes mixed
    patches = torch.randn(int(grid.prod(1).sum()), 768, generator=torch.Generator().manual_seed(0))
    watched = (tower.patch_embed.proj, tower.blocks[0].attn.qkv)

    def outcome():
        tower.zero_grad()
        output = tower(patches, grid_thw=grid)
        (output.pooler_output.square().sum() + output.deepstack_features[0].square().sum()).backward()
        return output.pooler_output.detach(), [layer.weight.grad.clone() for layer in watched]

    names = list(tower.state_dict())
    (tokens, slopes), changed = outcome(), fast_vision(model)
    again, slopes_again = outcome()
    assert changed == 1 and list(tower.state_dict()) == names
    assert torch.allclose(tokens, again, atol=1e-5)
    for slope, slope_again in zip(slopes, slopes_again, strict=True):
        assert torch.allclose(slope, slope_again, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert fast_vision(torch.nn.Linear(2, 2)) == 0


def test_flash_attention_is_left_alone():
    from transformers import AutoModelForImageTextToText

    from helpers.course.profiles import ROOT

    model = AutoModelForImageTextToText.from_pretrained(ROOT / "data" / "checkpoints" / "small-vlm")
    model.model.visual.config._attn_implementation = "flash_attention_2"
    assert fast_vision(model) == 1
    attention = model.model.visual.blocks[0].attn
    assert attention.forward.__func__ is type(attention).forward


def test_a_kernel_and_its_subclasses_are_watched(monkeypatch):
    import IPython

    monkeypatch.delenv(hardware.HEADLESS, raising=False)
    kernel = type("ZMQInteractiveShell", (), {})
    for shell, expected in ((kernel, True), (type("Shell", (kernel,), {}), True), (object, False)):
        monkeypatch.setattr(IPython, "get_ipython", shell)
        assert hardware.watched() is expected


def test_kept_for_backward_counts_what_autograd_keeps_at_once():
    import torch

    model = torch.nn.Linear(256, 256, bias=False)
    inputs = torch.ones(100, 256)
    each = inputs.nbytes  # a sigmoid keeps its output; the layer below it, its input

    def step(parts):
        for part in inputs.chunk(parts):
            torch.sigmoid(model(part)).sum().backward()

    assert needs.kept_for_backward(model, lambda: step(1)) == 2 * each
    # Of a part, the output alone is its own: the four inputs share one storage.
    assert needs.kept_for_backward(model, lambda: step(4)) == each + each // 4
    assert needs.kept_for_backward(model, lambda: None) == 0


def test_pages_are_read_ahead_beside_a_gpu_only(monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 16)
    for device, processes in (("cpu", 0), ("mps", 0), ("cuda", 8)):
        monkeypatch.setattr(hardware, "device", lambda device=device: device)
        assert hardware.workers() == processes
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    assert hardware.workers() == 1
