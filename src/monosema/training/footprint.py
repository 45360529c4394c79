"""How much memory training a dictionary with sparse codes takes, from sizes alone.

On a processor the sum was compared with what the operating system counted (`benchmarks/plan.py`); on a GPU nothing was
measured, and the sum counts what is held, not what the allocator keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from monosema.kernels.encode import BLOCK_BYTES

PROCESS = 410e6
"""Bytes of a process that has imported all and done nothing yet; measured."""
COPIES = 6
"""Matrices of a batch's size that a step holds at once: rows, centred rows, reconstruction, and their gradients."""
CODE_BYTES = 44
"""Bytes for each active latent of a batch: value, latent, gradient, and the order by latent with its sorting."""
FINISH = 24
"""Bytes for each parameter while the folded copy is made and saved beside parameters and moments; measured."""


@dataclass(frozen=True)
class Layout:
    """Sizes of a training.

    Attributes:
        d: values in a row.
        m: latents.
        k: active latents of a row.
        batch: rows in a batch, on all devices together.
        product: precision of the encoder's product.
        groups: devices that share a batch.
        shards: devices that share the latents.
    """

    d: int
    m: int
    k: int
    batch: int
    product: str = "float32"
    groups: int = 1
    shards: int = 1


@dataclass(frozen=True)
class Footprint:
    """Peak bytes on one device, by what they are for.

    Attributes:
        process: libraries; 0 on a GPU.
        rows: activations that wait to be used; 0 on a GPU.
        parameters, gradients, moments: of the optimiser's step.
        product: the encoder's copy for the product, and the block of pre-activations.
        transient: one matrix that comes and goes while rows are brought to norm 1.
        batch: rows, codes and their gradients.
        finish: what saving takes beyond the largest step; 0 where the step is larger.
    """

    process: float
    rows: float
    parameters: float
    gradients: float
    moments: float
    product: float
    transient: float
    batch: float
    finish: float

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


def training_footprint(layout: Layout, processor: bool, stream_mb: float) -> Footprint:
    """Peak memory of training on one device.

    Args:
        processor: whether the device is a processor, whose memory holds the program and waiting rows too.
        stream_mb: megabytes that waiting rows may take.
    """
    d, k = layout.d, layout.k
    m = -(-layout.m // layout.shards)
    n = -(-layout.batch // layout.groups)
    count = 2.0 * m * d + m + d
    product = m * (d + 2) * (2 if layout.product == "bfloat16" else 4) + BLOCK_BYTES
    batch = n * (COPIES * d * 4 + k * CODE_BYTES * layout.shards)
    step = 16 * count + product + 4.0 * m * d + batch
    # Shards are gathered in main memory when the dictionary is saved.
    gathered = 16 * count + 4 * count * layout.shards if processor else 0.0
    whole = FINISH * count if layout.shards == 1 else gathered
    return Footprint(
        process=PROCESS if processor else 0.0,
        rows=stream_mb * 1e6 if processor else 0.0,
        parameters=4 * count,
        gradients=4 * count,
        moments=8 * count,
        product=float(product),
        transient=4.0 * m * d,
        batch=float(batch),
        finish=max(0.0, whole - step),
    )
