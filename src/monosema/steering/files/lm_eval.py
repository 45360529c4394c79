"""lm-evaluation-harness' steering files (`--model steered --model_args steer_path=FILE`).

.pt    {hookpoint: {"action": "add" | "clamp", "steering_vector": v, "steering_coefficient": s, "bias": b or None}},
       a hookpoint the path of a module whose output is x:   add  x ← x + s v   clamp  ⟨x − b, v/‖v‖⟩ ← s
.csv   the same by latents of dictionaries: action, hookpoint, feature_index, steering_coefficient; v is the decoder row
       and, of a clamp, b is b_dec. Read only, by the dictionary at hand.

All tokens are changed. To clamp is to clamp what x has along v, not what an encoder gives.
"""

from __future__ import annotations

import csv
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import ConfigError, FormatError, Site, atomic_path
from monosema.dictionaries import SparseCoder
from monosema.models import AdaptedModel, LanguageModel, Transformer
from monosema.steering.coordinates import Direction
from monosema.steering.edits import Edit, Steering
from monosema.steering.files.constant import constants
from monosema.steering.moves import Add, Clamp
from monosema.steering.short import named
from monosema.steering.spec import Resolve
from monosema.steering.where import EVERY_TOKEN

_COLUMNS = ("feature_index", "steering_coefficient")
_BLOCK = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)")


def read(path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
    """Read a steering. Raises FormatError for other contents, ConfigError where a .csv's dictionary is not at hand."""
    return _read_rows(path, resolve) if path.suffix == ".csv" else _read_tensors(path)


def write(path: Path, steering: Steering, model: LanguageModel | None) -> None:
    """Write constant additions, or clamps of directions to one value, one at each site.

    Raises:
        ConfigError: a steering that is anything else, or a .csv.
    """
    if path.suffix == ".csv":
        raise ConfigError(
            "A .csv of lm-evaluation-harness names dictionaries of others: write a .pt, which has vectors."
        )
    clamped = [edit for edit in steering.edits if isinstance(edit.move, Clamp)]
    added = Steering([edit for edit in steering.edits if edit not in clamped], steering.strength)
    held: dict[str, dict[str, Any]] = {}
    for site, vector in (
        constants(added, "A steering file of lm-evaluation-harness", model) if added.edits else {}
    ).items():
        held[_hookpoint(site, model)] = _entry("add", vector, 1.0)
    for edit in clamped:
        direction, hookpoint = edit.coordinate, _hookpoint(edit.coordinate.site, model)
        value = _clamped_to(edit)
        if value is None or not isinstance(direction, Direction) or steering.strength != 1 or hookpoint in held:
            raise ConfigError(
                f"A steering file of lm-evaluation-harness can't hold {named(edit)}: it holds, at "
                "every token, one clamp of a direction to one value at a site, and no other edit there."
            )
        held[hookpoint] = _entry("clamp", direction.vector.cpu(), value * float(direction.vector.norm()))
    with atomic_path(path) as temporary:
        torch.save(held, temporary)


def _entry(action: str, vector: Tensor, coefficient: float) -> dict[str, Any]:
    values = {"action": action, "steering_vector": vector, "steering_coefficient": coefficient}
    return {**values, "bias": None, "head_index": None}


def _clamped_to(edit: Edit) -> float | None:
    """The coordinate's value after a clamp that sets it at every token; None for any other."""
    move = edit.move
    sets = isinstance(move, Clamp) and move.low == move.high and not move.only_active
    if not sets or edit.where != EVERY_TOKEN or edit.unit == "norm":
        return None
    assert isinstance(move, Clamp)
    return move.low * edit.factor


def _read_tensors(path: Path) -> Steering:
    try:
        held = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise FormatError(
            f"{path} is no file of tensors that torch.save wrote, or is damaged, or holds more than tensors and "
            "numbers, which is not loaded: it could run code."
        ) from error
    if not isinstance(held, Mapping) or not all(isinstance(one, Mapping) for one in held.values()):
        raise FormatError(f"{path} is no steering file of lm-evaluation-harness: it maps hookpoints to what is done.")
    edits = []
    for hookpoint, entry in held.items():
        vector, bias = entry.get("steering_vector"), entry.get("bias")
        if not isinstance(vector, Tensor) or entry.get("head_index") is not None:
            raise FormatError(
                f"{path}: {hookpoint!r} has no steering_vector, or is of one head, which is not read here."
            )
        direction = Direction(_site(str(hookpoint)), vector, path.stem)
        edits.append(
            _edit(direction, str(entry.get("action")), float(entry.get("steering_coefficient", 1.0)), bias, path)
        )
    return Steering(edits)


def _read_rows(path: Path, resolve: Resolve | None) -> Steering:
    if resolve is None:
        raise ConfigError(f"{path} names latents: say which dictionary they are of (`Resolver.of`).")
    edits = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file)
        if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
            raise FormatError(
                f"{path} has no column {', '.join(missing)}: a steering file of lm-evaluation-harness "
                "begins with the line action,hookpoint,feature_index,steering_coefficient, and has a row for each edit."
            )
        for row in rows:
            try:
                index, value = int(row["feature_index"]), float(row["steering_coefficient"])
            except (TypeError, ValueError) as error:
                raise FormatError(f"{path}, line {rows.line_num}: no number of a latent, or no coefficient.") from error
            latent = resolve.latent(index, _site(row["hookpoint"]) if row.get("hookpoint") else None)
            coder = latent.dictionary
            bias = coder.b_dec.detach() if isinstance(coder, SparseCoder) else None
            edits.append(_edit(latent.direction, row.get("action") or "add", value, bias, path))
    return Steering(edits)


def _edit(direction: Direction, action: str, value: float, bias: Tensor | None, path: Path) -> Edit:
    if action == "add":
        return Edit(direction, Add(value), EVERY_TOKEN)
    if action != "clamp":
        raise FormatError(f"{path}: the action {action!r} is neither add nor clamp.")
    norm = float(direction.vector.norm())
    offset = 0.0 if bias is None else float(bias.float().cpu() @ direction.vector) / norm
    return Edit(direction, Clamp((value + offset) / norm, (value + offset) / norm), EVERY_TOKEN)


def _hookpoint(site: Site, model: LanguageModel | None) -> str:
    """The path of a module behind the model's base, as the harness looks it up."""
    if site.layer is None:
        prefix = getattr(model.module, "base_model_prefix", "") if isinstance(model, AdaptedModel) else ""
        return site.component.removeprefix(f"{prefix}." if isinstance(prefix, str) and prefix else "")
    gpt2 = isinstance(model, Transformer) and model.config.family == "gpt2"
    return f"{'h' if gpt2 else 'layers'}.{site.layer}"


def _site(hookpoint: str) -> Site:
    block = _BLOCK.fullmatch(hookpoint)
    return Site(int(block[1]), "resid_post") if block else Site.parse(hookpoint)
