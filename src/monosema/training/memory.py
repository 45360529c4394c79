"""Peak memory, as the operating system counted it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


class PeakMemory:
    """Peak memory since this object was made, in 10⁶ bytes: of the GPU where one is used, of the process otherwise."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._exact = False
        self.before = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device) / 1e6
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._exact = True
        except OSError:
            pass
        self.before = self.peak()

    def peak(self) -> float:
        """Return the peak so far. Where the system can't start counting anew, the peak since the process began."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6
        if self._exact:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    # The kernel adds up pages in batches, so a later count can lie a little below an earlier one.
                    return max(self.before, int(line.split()[1]) * 1024 / 1e6)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
