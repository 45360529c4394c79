"""Machines that a plan can be made for: described by their makers' nominal figures, by the user, or measured here."""

from __future__ import annotations

import os
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from monosema.core import Config, ConfigError, FormatError, choose_device, measure_machine, nearest

COPIED_MB = 256
"""Size of the block that memory and disk are measured with."""


class Machine(Config):
    """A kind of device, and how many of them work together."""

    name: str
    """What to call it."""
    devices: int = Field(1, gt=0)
    """GPUs that work together; 1 for a processor."""
    memory_gb: float = Field(gt=0)
    """Memory of one device, in 10⁹ bytes."""
    tflops: float = Field(gt=0)
    """Dense matrix products of one device in the precision that is used, in 10¹² operations a second."""
    memory_gb_s: float = Field(gt=0)
    """Rate of a device's memory, in 10⁹ bytes a second."""
    network_gb_s: float = Field(gt=0)
    """Rate at which one device sends to another, in 10⁹ bytes a second."""
    disk_gb_s: float = Field(2.0, gt=0)
    """Rate at which all devices together read or write activations, in 10⁹ bytes a second."""
    price_per_hour: float | None = Field(None, ge=0)
    """Price of one device for an hour, in any currency; None where it isn't known."""
    share: float = Field(0.4, gt=0, le=1)
    """Share of the rates of products and memory that is reached in practice; an assumption."""
    product: str = Field("bfloat16", pattern="^(bfloat16|float32)$")
    """Precision of large products."""
    processor: bool = False
    """Whether the device is a processor, whose memory holds the program and the rows too."""
    source: str = "as given"
    """Where the figures come from."""


def _nominal(name: str, memory: float, tflops: float, memory_rate: float, network: float, sheet: str) -> Machine:
    return Machine(
        name=name,
        memory_gb=memory,
        tflops=tflops,
        memory_gb_s=memory_rate,
        network_gb_s=network,
        source=f"nominal: {sheet}; disk: an NVMe drive's 2 GB/s assumed",
    )


MACHINES = {
    machine.name: machine
    for machine in (
        # Peer-to-peer copies are switched off in this card: data goes through the host's memory, at a share of the bus.
        _nominal("rtx-4090", 24.0, 165.2, 1008.0, 8.0, "NVIDIA Ada whitepaper; a quarter of PCIe 4.0 x16 assumed"),
        _nominal("a100-80gb", 80.0, 312.0, 2039.0, 300.0, "NVIDIA A100 SXM data sheet, NVLink in one direction"),
        _nominal("h100", 80.0, 989.0, 3350.0, 450.0, "NVIDIA H100 SXM data sheet, NVLink in one direction"),
        _nominal("h200", 141.0, 989.0, 4800.0, 450.0, "NVIDIA H200 SXM data sheet, NVLink in one direction"),
    )
}
"""Kinds that are known by name. None has a price: prices differ by place and month."""


def read_machines(words: list[str], device: str | None = None) -> list[Machine]:
    """The machines that words name: ``this``, ``rtx-4090``, ``h100:8`` (eight of them), or a TOML file.

    A TOML file holds a table ``[[machine]]`` for each, with the fields of `Machine`.

    Raises:
        ConfigError: an unknown name or field; FormatError: a file that isn't TOML or holds no machine.
    """
    found: list[Machine] = []
    for word in words:
        if word.endswith(".toml"):
            found += _from_file(Path(word))
            continue
        name, _, count = word.partition(":")
        if count and not (count.isdecimal() and int(count) > 0):
            raise ConfigError(f"{word!r} is not a machine: after the colon stands a number of devices, as in h100:8.")
        if name != "this" and name not in MACHINES:
            known = ["this", *MACHINES]
            raise ConfigError(
                f"There is no machine {name!r}.{nearest(name, known)} Known are {', '.join(known)}; "
                "describe others in a TOML file with a table [[machine]] each."
            )
        machine = this_machine(device) if name == "this" else MACHINES[name]
        found.append(machine.replace(devices=int(count)) if count else machine)
    return found


def _from_file(path: Path) -> list[Machine]:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path} can't be read as a list of machines: {error}.") from None
    tables = values.get("machine")
    if not isinstance(tables, list) or not tables:
        raise FormatError(f"{path} holds no machine: give each a table [[machine]].")
    return [Machine(**table) for table in tables]


def this_machine(device: str | None = None) -> Machine:
    """This machine as measured now, in a few seconds: products, memory and the disk of the temporary folder."""
    chosen = choose_device(device)
    facts = measure_machine(chosen)
    fast = facts.bf16_speedup >= 1.5
    rate = facts.bf16_gflops if fast else facts.fp32_gflops
    memory = _memory_rate(chosen)
    return Machine(
        name="this",
        devices=torch.cuda.device_count() if chosen.type == "cuda" else 1,
        memory_gb=facts.memory_gb * 2**30 / 1e9,
        tflops=rate / 1e3,
        memory_gb_s=memory,
        network_gb_s=memory,
        disk_gb_s=_disk_rate(),
        share=0.8,
        product="bfloat16" if fast else "float32",
        processor=chosen.type != "cuda",
        source=f"measured: {facts.device}",
    )


def _memory_rate(device: torch.device) -> float:
    source = torch.ones(COPIED_MB * 2**18, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * source.numel() * 4 / best / 1e9


def _disk_rate() -> float:
    block = bytes(COPIED_MB * 2**20 // 4)
    with tempfile.NamedTemporaryFile() as file:
        began = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return len(block) / (time.perf_counter() - began) / 1e9
