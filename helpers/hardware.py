"""What this machine can do."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

_KERNELS = 64  # of oneDNN, kept for shapes seen before; a training step has about as many
#: Where oneDNN, and what PyTorch puts before it, read how many kernels to keep; unset: 1,024 each.
_KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
HEADLESS = "VDR_COURSE_HEADLESS"  # environment variable: set where nobody looks on


@cache
def device() -> str:
    """Return "cuda", "mps" or "cpu": where models and tensors go."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def use_bf16(kind: str | None = None) -> bool:
    """Whether training may use bfloat16: a GPU or CPU that computes in it rather than emulating it.

    A T4 or V100 does not ("Current CUDA Device does not support bfloat16"); CPUs with AVX-512 BF16 do.

    Args:
        kind: "cpu", "cuda" or another; None: what `device` finds.
    """
    import torch

    kind = kind or device()
    if kind == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    if kind != "cuda":
        return False
    return torch.cuda.is_bf16_supported(including_emulation=False)


def use_fp16() -> bool:
    """Whether training should use float16: a GPU that does not compute in bfloat16, such as a T4."""
    return device() == "cuda" and not use_bf16()


def tier() -> str | None:
    """Return the largest of `settings.TIERS` that the GPU's memory holds; None without a CUDA GPU."""
    if device() != "cuda":
        return None
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    return "80gb" if memory > 75 else "24gb" if memory > 22 else "16gb"


def attn_implementation() -> str:
    """Return the value for `model_kwargs={"attn_implementation": ...}`.

    "flash_attention_2" where the flash-attn package is installed and the GPU is recent enough for it (compute
    capability 8.0), else torch's own "sdpa".
    """
    if device() == "cuda" and find_spec("flash_attn") is not None:
        import torch

        if torch.cuda.get_device_capability() >= (8, 0):
            return "flash_attention_2"
    return "sdpa"


def training_attention(dtype: str = "float32") -> str:
    """Return `attn_implementation` for training with weights of this type.

    Flash attention takes half-precision weights only, so torch's own "sdpa" is left for float32. On a CPU
    that computes in bfloat16, plain matrix products ("eager") beat its fused kernel for sequences as short as
    the small checkpoint's: `tests/bench/bench_training.py --each` runs both.
    """
    if dtype != "float32":
        return attn_implementation()
    return "eager" if device() == "cpu" and use_bf16() else "sdpa"


def peak_memory_mb(started: bool = False) -> float:
    """Return the most memory used so far, in MB (10^6 bytes): reserved on the GPU if there is one, else the
    largest resident size of this process.

    Args:
        started: without a GPU, of the largest process where this one has started others that have ended.
    """
    if "torch" in sys.modules and device() == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if sys.platform == "linux":
        # getrusage's figure survives exec: a kernel would report the peak of the process that started it.
        with open("/proc/self/status") as status:
            own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    # A process begins with its parent's figure, so a small one shows no more than `own`.
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit if started else 0
    return max(own, others) / 1e6


def device_name() -> str:
    """Return a short name of the device for the ledger, such as "cpu (2 cores)" or the GPU's name."""
    if device() == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"{device()} ({cores()} cores)"


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Processes that read pages ahead while a GPU computes; none where the CPU does: there they cost a
    seventh of the speed (`tests/bench/bench_training.py --each`).
    """
    return min(8, cores() - 1) if device() == "cuda" else 0


def describe() -> dict[str, str]:
    """Return what a reader should know about this machine, as label -> text, in the order to print it."""
    import psutil
    import torch

    facts = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CPU cores": str(cores()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "device": device_name(),
        "bfloat16 training": "yes" if use_bf16() else "no",
        "attention": attn_implementation(),
    }
    if device() == "cuda":
        facts["GPU memory"] = f"{torch.cuda.get_device_properties(0).total_memory / 1e9:.1f} GB"
    return facts


def keep_freed_memory() -> bool:
    """Let glibc's allocator keep freed memory rather than return it to the system; say whether it could.

    By default a tensor above 128 KB is mapped when made and unmapped when freed, and each of its memory pages
    costs a fault at the next use: on a CPU, as much time as the arithmetic. The price: the process stays as
    large as it once was (`mallopt(3)`). With a GPU, and with other C libraries, nothing is done.

    oneDNN compiles a kernel of half a megabyte for each new shape of a product in bfloat16, so fewer are kept
    from here on (`_KERNEL_CACHES`), if no such product was computed yet: call this first.
    """
    if device() == "cuda":
        return False
    for name in _KERNEL_CACHES:
        os.environ.setdefault(name, str(_KERNELS))
    if sys.platform != "linux":
        return False
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
    mallopt = _glibc("mallopt")
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> bool:
    """Return memory that the allocator keeps, and no tensor uses, to the system; say whether there was any.

    After `keep_freed_memory` a process grows for as long as it trains, as batches differ in length. Called
    once in a few steps, this holds it near what it uses (`malloc_trim(3)`).
    """
    if sys.platform != "linux" or device() == "cuda":
        return False
    trim = _glibc("malloc_trim")
    return bool(trim and trim(0))


def _glibc(name: str):
    """A function of glibc, or None where the C library is another."""
    import ctypes

    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None


def watched() -> bool:
    """Whether a reader looks on: a notebook's kernel, not a headless run."""
    if os.environ.get(HEADLESS):
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    # Colab's shell is a subclass.
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(get_ipython()).__mro__)
