"""Training: the one trainer, its schedule, exact resume, sweeps."""

from __future__ import annotations

from monosema.training.config import TrainConfig, TrainResult
from monosema.training.end_to_end import EndToEnd
from monosema.training.metrics import HeldOut, held_out_metrics
from monosema.training.objective import Objective, Reconstruction
from monosema.training.rows import TrainingRows, held_out_rows, train_on_rows
from monosema.training.scaling import ScalingFit, ScalingPoint, fit_scaling
from monosema.training.schedule import learning_rate, schedule, warm_up_steps
from monosema.training.sweep import SweepResult, Trial, train_sweep
from monosema.training.tracking import Tracker
from monosema.training.trainer import Trainer, train
from monosema.training.training_run import TrainingRun

__all__ = [
    "EndToEnd",
    "HeldOut",
    "Objective",
    "Reconstruction",
    "ScalingFit",
    "ScalingPoint",
    "SweepResult",
    "Tracker",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "TrainingRows",
    "TrainingRun",
    "Trial",
    "fit_scaling",
    "held_out_metrics",
    "held_out_rows",
    "learning_rate",
    "schedule",
    "train",
    "train_on_rows",
    "train_sweep",
    "warm_up_steps",
]
