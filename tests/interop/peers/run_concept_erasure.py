"""Erase a label from rows with concept-erasure: reads rows.safetensors, writes erased.safetensors beside it."""

import sys
from pathlib import Path

from concept_erasure import LeaceFitter
from safetensors.torch import load_file, save_file

folder = Path(sys.argv[1])
given = load_file(folder / "rows.safetensors")
rows, labels = given["rows"].double(), given["labels"].double()
fitter = LeaceFitter.fit(rows, labels, shrinkage=False, constrain_cov_trace=False)
save_file({"erased": fitter.eraser(rows).contiguous()}, folder / "erased.safetensors")
