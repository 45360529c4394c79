"""Dictionaries: activations written as sparse sums of directions.

A `SparseCoder` is encoder × activation × decoder; its activation functions are an open list (`register_activation`).
Baselines stand behind the same protocol.
"""

from __future__ import annotations

from monosema.dictionaries.activation_functions import (
    ACTIVATIONS,
    Activated,
    Activation,
    AuxK,
    Batch,
    BatchTopK,
    Gated,
    JumpReLU,
    PAnneal,
    Rectified,
    ReLU,
    TiedL1,
    TopK,
    activation_named,
    register_activation,
)
from monosema.dictionaries.architectures import (
    DictionaryChoice,
    DictionaryConfig,
    architectures,
    config_of,
    dictionary_config,
    is_architecture,
    make_coder,
    of_architecture,
)
from monosema.dictionaries.baselines import Ica, Neurons, Nmf, Pca, RandomDirections
from monosema.dictionaries.coder import SparseCoder
from monosema.dictionaries.coder_config import CoderConfig
from monosema.dictionaries.codes import Codes, RaggedCodes
from monosema.dictionaries.formats import (
    FORMATS,
    Parts,
    dictionary_of,
    load_dictionary,
    parts_of,
    register_format,
    save_dictionary,
)
from monosema.dictionaries.initialisation import (
    data_directions,
    directions_from,
    geometric_median,
    orthogonal_directions,
    random_directions,
)
from monosema.dictionaries.losses import batch_variance, mean_losses
from monosema.dictionaries.named import NamedLatents
from monosema.dictionaries.protocol import Coder, Dictionary, Losses, Metadata, StepContext, Trainable
from monosema.dictionaries.publish import pull, push
from monosema.dictionaries.sites import (
    AtSite,
    at_sites,
    number_of_sites,
    reads_elsewhere,
    share_of_other,
    sites_read,
    title_of,
    written_at,
)

__all__ = [
    "ACTIVATIONS",
    "FORMATS",
    "Activated",
    "Activation",
    "AtSite",
    "AuxK",
    "Batch",
    "BatchTopK",
    "Coder",
    "CoderConfig",
    "Codes",
    "Dictionary",
    "DictionaryChoice",
    "DictionaryConfig",
    "Gated",
    "Ica",
    "JumpReLU",
    "Losses",
    "Metadata",
    "NamedLatents",
    "Neurons",
    "Nmf",
    "PAnneal",
    "Parts",
    "Pca",
    "RaggedCodes",
    "RandomDirections",
    "ReLU",
    "Rectified",
    "SparseCoder",
    "StepContext",
    "TiedL1",
    "TopK",
    "Trainable",
    "activation_named",
    "architectures",
    "at_sites",
    "batch_variance",
    "config_of",
    "data_directions",
    "dictionary_config",
    "dictionary_of",
    "directions_from",
    "geometric_median",
    "is_architecture",
    "load_dictionary",
    "make_coder",
    "mean_losses",
    "number_of_sites",
    "of_architecture",
    "orthogonal_directions",
    "parts_of",
    "pull",
    "push",
    "random_directions",
    "reads_elsewhere",
    "register_activation",
    "register_format",
    "save_dictionary",
    "share_of_other",
    "sites_read",
    "title_of",
    "written_at",
]
