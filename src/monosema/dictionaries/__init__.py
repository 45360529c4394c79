"""Dictionaries: activations written as sparse sums of directions, one file per architecture."""

from __future__ import annotations

from monosema.dictionaries.autoencoder import Autoencoder, AutoencoderConfig
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.formats import FORMATS, load_dictionary, save_dictionary
from monosema.dictionaries.ica import Ica
from monosema.dictionaries.initialisation import data_directions, geometric_median, random_directions
from monosema.dictionaries.neurons import Neurons
from monosema.dictionaries.nmf import Nmf
from monosema.dictionaries.normalised import NormalisedCodes, NormalisedInput
from monosema.dictionaries.pca import Pca
from monosema.dictionaries.protocol import Dictionary, Losses, Metadata, Moment, Trainable
from monosema.dictionaries.random import RandomDirections
from monosema.dictionaries.topk import TopK, TopKConfig

__all__ = [
    "FORMATS",
    "Autoencoder",
    "AutoencoderConfig",
    "Codes",
    "Dictionary",
    "Ica",
    "Losses",
    "Metadata",
    "Moment",
    "Neurons",
    "Nmf",
    "NormalisedCodes",
    "NormalisedInput",
    "Pca",
    "RandomDirections",
    "TopK",
    "TopKConfig",
    "Trainable",
    "data_directions",
    "geometric_median",
    "load_dictionary",
    "random_directions",
    "save_dictionary",
]
