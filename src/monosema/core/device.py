"""Choice of device and precision: measured, not guessed."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass

import torch

from monosema.core.errors import ConfigError


@dataclass(frozen=True)
class MachineFacts:
    """Measurements of this machine.

    Attributes:
        device: name of the processor or GPU that would be used.
        cores: processor cores that this process may use.
        memory_gb, memory_free_gb: main memory, or the GPU's where one is used.
        fp32_gflops, bf16_gflops: rates of matrix products, in 10⁹ floating-point operations a second.
    """

    device: str
    cores: int
    memory_gb: float
    memory_free_gb: float
    fp32_gflops: float
    bf16_gflops: float

    @property
    def bf16_speedup(self) -> float:
        """Rate of bf16 products over that of fp32 products."""
        return self.bf16_gflops / self.fp32_gflops


def choose_device(name: str | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(
            f"There is no device {name!r} on this machine. Use 'cpu', or 'cuda' where `monosema doctor` finds a GPU."
        ) from None
    return device


def choose_dtype(device: torch.device, name: str | None = None) -> torch.dtype:
    """The precision asked for (``float32``, ``bfloat16``, ``float16``), or bfloat16 where its products are fast.

    Raises:
        ConfigError: no such precision.
    """
    if name is None:
        return torch.bfloat16 if bf16_is_fast(device) else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ConfigError(f"There is no precision {name!r}. Use one of: {', '.join(known)}.")
    return known[name]


@functools.cache
def bf16_is_fast(device: torch.device) -> bool:
    """Return True if bf16 matrix products run at least 1.5 times as fast as fp32 ones; measured once a process.

    The environment variable MONOSEMA_BF16 (``0`` or ``1``) overrides the measurement.
    """
    override = os.environ.get("MONOSEMA_BF16")
    if override in ("0", "1"):
        return override == "1"
    fp32, bf16 = product_rates(device, size=768, repeats=6)
    return bf16 >= 1.5 * fp32


@functools.cache
def int8_is_fast(device: torch.device) -> bool:
    """Return True if a processor multiplies 8-bit integers at least twice as fast as fp32 numbers.

    Measured once a process. The environment variable MONOSEMA_INT8 (``0`` or ``1``) overrides the measurement.
    """
    override = os.environ.get("MONOSEMA_INT8")
    if override in ("0", "1"):
        return override == "1" and device.type == "cpu"
    # Without oneDNN's kernels, or for other processors, PyTorch's product of integers is a plain loop.
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    fp32, int8 = _rates(torch.float32, torch.int8, device, size=768, repeats=10)
    return int8 >= 2 * fp32


def choose_product(device: torch.device) -> torch.dtype:
    """The precision in which a dictionary's encoder is multiplied fastest: bfloat16, int8 (which only names
    candidates that are then computed in float32) or float32."""
    if bf16_is_fast(device):
        return torch.bfloat16
    return torch.int8 if int8_is_fast(device) else torch.float32


def product_rates(device: torch.device, size: int, repeats: int) -> tuple[float, float]:
    """Rates of fp32 and bf16 products of two square matrices, in 10⁹ floating-point operations a second."""
    return _rates(torch.float32, torch.bfloat16, device, size, repeats)


def _rates(one: torch.dtype, other: torch.dtype, device: torch.device, size: int, repeats: int) -> tuple[float, float]:
    """Rates of products of two square matrices, in 10⁹ operations a second.

    The two take turns and the best time of each counts, so that other work on the machine does not decide between them.
    """
    best: dict[torch.dtype, float] = {}
    operands = {
        dtype: tuple(torch.randn(size, size, device=device).to(dtype) for _ in range(2)) for dtype in (one, other)
    }
    for repeat in range(repeats + 1):
        for dtype, (a, b) in operands.items():
            start = time.perf_counter()
            _ = torch._int_mm(a, b) if dtype == torch.int8 else a @ b
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
            # The first product of a kind also chooses and loads its kernel.
            if repeat > 0:
                best[dtype] = min(seconds, best.get(dtype, seconds))
    work = 2 * size**3 / 1e9
    return work / best[one], work / best[other]


def measure_machine(device: torch.device) -> MachineFacts:
    """Measure what `monosema doctor` prints; takes a second or two."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
    else:
        import psutil

        memory = psutil.virtual_memory()
        free, total = memory.available, memory.total
        name = _processor_name()
    fp32, bf16 = product_rates(device, size=2048 if device.type == "cpu" else 8192, repeats=5)
    return MachineFacts(
        device=name,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=total / 2**30,
        memory_free_gb=free / 2**30,
        fp32_gflops=fp32,
        bf16_gflops=bf16,
    )


def _processor_name() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
