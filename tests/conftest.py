"""What all tests share: annotated shapes are checked at run time, bars are silent, nothing reaches a network."""

from __future__ import annotations

import os

os.environ.setdefault("MONOSEMA_QUIET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("monosema", "beartype.beartype")

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")
