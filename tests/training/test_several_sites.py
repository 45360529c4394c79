"""Transcoders and crosscoders go through the one trainer, from a store of several sites to a saved dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monosema.activations import CaptureConfig, JoinedStream, Store, capture_to_store, fit_preprocessing
from monosema.data import TextConfig, token_batches
from monosema.data.builtin import BuiltinCorpus
from monosema.dictionaries import Crosscoder, CrosscoderConfig, Transcoder, TranscoderConfig, load_dictionary
from monosema.models import random_model
from monosema.training import TrainConfig, train

SITES = ("1.mlp_in", "1.mlp_out")
