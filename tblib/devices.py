"""Devices: selection, precision and random number generators."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


def pick_device() -> torch.device:
    """Return the first of cuda, mps and cpu that is available."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` selects bf16 if the device computes in it natively."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and cpu_computes_in_bf16() else "fp32"


def cpu_computes_in_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.cpu._is_avx512_bf16_supported()  # the only check in older PyTorch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Use `seed` on the CPU and on `device` inside the block; restore their generators afterwards.

    Other devices are left alone: `torch.manual_seed` and a plain `fork_rng` access every card, which would open a
    context on each of them in every process of an audit on the CPU.
    """
    module = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    places = {"devices": [device], "device_type": device.type} if module else {"devices": []}
    with current, torch.random.fork_rng(**places):
        torch.default_generator.manual_seed(seed)
        if module:
            module.manual_seed(seed)
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 without TF32, cuDNN's default, inside the block; restore the settings afterwards.

    With TF32 a card and a CPU would give the same film different scores. Where PyTorch has the new switches, the old
    ones (``allow_tf32``) cannot be read in the block: PyTorch raises if they disagree.
    """
    if not hasattr(torch.backends.cudnn, "conv"):
        with _full_precision_by_old_switches():
            yield
        return
    cudnn: Any = torch.backends.cudnn  # mypy does not know its switches
    onednn: Any = torch.backends.mkldnn
    switches: tuple[Any, ...] = (cudnn.conv, torch.backends.cuda.matmul, onednn.conv, onednn.matmul)
    before = [(switch, switch.fp32_precision) for switch in switches]
    turned = [(switch, was) for switch, was in before if was not in ("none", "ieee")]  # "none" means "ieee" here
    for switch, _ in turned:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        for switch, was in turned:
            switch.fp32_precision = was


@contextmanager
def _full_precision_by_old_switches() -> Iterator[None]:
    """`full_precision` for PyTorch before 2.9, which has only the old switches."""
    conv, matmul = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = conv
        torch.set_float32_matmul_precision(matmul)


def keep_freed_memory() -> None:
    """With glibc, let this process keep up to 1 GiB of freed memory.

    By default glibc returns large blocks to the system, which clears their pages again for the activations of the next
    step: a quarter of a float32 step's time. (mallopt(3): M_MMAP_MAX is −4, M_TRIM_THRESHOLD −1.)
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(-4, 0)
        ctypes.CDLL(None).mallopt(-1, 2**30)


def set_up(threads: int | None) -> None:
    """Set up this process for training: CPU threads (None: unchanged), determinism, and keeping freed memory."""
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new memory only helps to find reads of uninitialised values, and takes a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()
