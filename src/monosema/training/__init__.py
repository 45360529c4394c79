"""Training: the one trainer, its schedule, exact resume."""

from __future__ import annotations

from monosema.training.config import TrainConfig, TrainResult
from monosema.training.member import Member
from monosema.training.metrics import HeldOut, held_out_figures
from monosema.training.schedule import learning_rate, schedule
from monosema.training.trainer import Trainer, train
from monosema.training.vectors import held_out_rows, train_on_vectors

__all__ = [
    "HeldOut",
    "Member",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "held_out_figures",
    "held_out_rows",
    "learning_rate",
    "schedule",
    "train",
    "train_on_vectors",
]
