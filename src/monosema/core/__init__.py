"""Core, for every package: sites, errors, configurations, estimates, files, random state, devices, progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monosema.core.allocation import give_back_free_memory, keep_large_blocks
from monosema.core.config import Config
from monosema.core.counting import counted
from monosema.core.errors import (
    AnomalyError,
    ConfigError,
    CorpusError,
    CostCapError,
    DamagedFileError,
    DiskFullError,
    EmptySplitError,
    FormatError,
    InputError,
    MissingExtraError,
    MonosemaError,
    ProviderError,
    RunError,
    SiteError,
    UnknownModelError,
    UnsupportedModelError,
    VectorError,
    nearest,
)
from monosema.core.estimate import Estimate, bootstrap_correlation, bootstrap_mean, bootstrap_ratio, wilson, wilson_ends
from monosema.core.files import atomic_path, check_writable, checksum_file, digest, read_json, sha256_file, write_json
from monosema.core.progress import Log, Progress, SilentProgress, progress_bar
from monosema.core.seeds import derive_seed, numpy_generator, torch_generator
from monosema.core.site import Site

if TYPE_CHECKING:
    from monosema.core.device import (
        MachineFacts,
        bf16_is_fast,
        choose_device,
        choose_dtype,
        choose_product,
        int8_is_fast,
        measure_machine,
    )

__all__ = [
    "AnomalyError",
    "Config",
    "ConfigError",
    "CorpusError",
    "CostCapError",
    "DamagedFileError",
    "DiskFullError",
    "EmptySplitError",
    "Estimate",
    "FormatError",
    "InputError",
    "Log",
    "MachineFacts",
    "MissingExtraError",
    "MonosemaError",
    "Progress",
    "ProviderError",
    "RunError",
    "SilentProgress",
    "Site",
    "SiteError",
    "UnknownModelError",
    "UnsupportedModelError",
    "VectorError",
    "atomic_path",
    "bf16_is_fast",
    "bootstrap_correlation",
    "bootstrap_mean",
    "bootstrap_ratio",
    "check_writable",
    "checksum_file",
    "choose_device",
    "choose_dtype",
    "choose_product",
    "counted",
    "derive_seed",
    "digest",
    "give_back_free_memory",
    "int8_is_fast",
    "keep_large_blocks",
    "measure_machine",
    "nearest",
    "numpy_generator",
    "progress_bar",
    "read_json",
    "sha256_file",
    "torch_generator",
    "wilson",
    "wilson_ends",
    "write_json",
]

_FROM_DEVICE = {
    "MachineFacts",
    "bf16_is_fast",
    "choose_device",
    "choose_dtype",
    "choose_product",
    "counted",
    "int8_is_fast",
    "measure_machine",
}


def __getattr__(name: str) -> Any:
    """Import torch only when a device is asked about."""
    if name in _FROM_DEVICE:
        from monosema.core import device

        return getattr(device, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
