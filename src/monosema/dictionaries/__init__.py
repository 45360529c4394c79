"""Dictionaries: activations written as sparse sums of directions, one file per architecture."""

from __future__ import annotations

from monosema.dictionaries.autoencoder import Autoencoder, AutoencoderConfig
from monosema.dictionaries.batch_topk import BatchTopK, BatchTopKConfig
from monosema.dictionaries.codes import Codes, RaggedCodes
from monosema.dictionaries.crosscoder import Crosscoder, CrosscoderConfig
from monosema.dictionaries.formats import FORMATS, load_dictionary, save_dictionary
from monosema.dictionaries.gated import Gated, GatedConfig
from monosema.dictionaries.ica import Ica
from monosema.dictionaries.initialisation import (
    data_directions,
    directions_from,
    geometric_median,
    orthogonal_directions,
    random_directions,
)
from monosema.dictionaries.jumprelu import JumpReLU, JumpReLUConfig
from monosema.dictionaries.l1 import L1, L1Config
from monosema.dictionaries.matryoshka import MatryoshkaBatchTopK, MatryoshkaConfig
from monosema.dictionaries.neurons import Neurons
from monosema.dictionaries.nmf import Nmf
from monosema.dictionaries.normalised import NormalisedCodes, NormalisedInput
from monosema.dictionaries.p_anneal import PAnneal, PAnnealConfig
from monosema.dictionaries.pca import Pca
from monosema.dictionaries.places import AtSite, at_sites, reads_elsewhere, share_of_other, sites_read, written_at
from monosema.dictionaries.protocol import Dictionary, Losses, Metadata, StepContext, Trainable
from monosema.dictionaries.random import RandomDirections
from monosema.dictionaries.tied import TiedL1, TiedL1Config
from monosema.dictionaries.topk import TopK, TopKConfig
from monosema.dictionaries.transcoder import SkippedCodes, Transcoder, TranscoderConfig

__all__ = [
    "FORMATS",
    "L1",
    "AtSite",
    "Autoencoder",
    "AutoencoderConfig",
    "BatchTopK",
    "BatchTopKConfig",
    "Codes",
    "Crosscoder",
    "CrosscoderConfig",
    "Dictionary",
    "Gated",
    "GatedConfig",
    "Ica",
    "JumpReLU",
    "JumpReLUConfig",
    "L1Config",
    "Losses",
    "MatryoshkaBatchTopK",
    "MatryoshkaConfig",
    "Metadata",
    "Neurons",
    "Nmf",
    "NormalisedCodes",
    "NormalisedInput",
    "PAnneal",
    "PAnnealConfig",
    "Pca",
    "RaggedCodes",
    "RandomDirections",
    "SkippedCodes",
    "StepContext",
    "TiedL1",
    "TiedL1Config",
    "TopK",
    "TopKConfig",
    "Trainable",
    "Transcoder",
    "TranscoderConfig",
    "at_sites",
    "data_directions",
    "directions_from",
    "geometric_median",
    "load_dictionary",
    "orthogonal_directions",
    "random_directions",
    "reads_elsewhere",
    "save_dictionary",
    "share_of_other",
    "sites_read",
    "written_at",
]
