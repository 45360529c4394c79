"""A model with weights drawn anew: what of a result is owed to the architecture and the text, and not to training.

    W_ij ~ N(mean(W), std(W)²),   for each tensor of weights W apart, embeddings, norms and biases included

so that every tensor keeps its mean and spread, and nothing else of what was learnt (Heap et al. 2025, arXiv
2501.17727, "re-randomised, embeddings included"; they find that automatic explanations of dictionaries of such models
score nearly as well as those of trained ones). What is no parameter, such as rotary tables, stays.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from monosema.core import InputError, torch_generator
from monosema.models.protocol import LanguageModel


@torch.no_grad()
def randomised(model: LanguageModel, seed: int = 0) -> LanguageModel:
    """A copy of a model with its weights drawn anew; the model itself is left as it is. It needs as much memory again.

    Args:
        model: a `Transformer`, or an adapted module.
        seed: decides the weights.

    Raises:
        InputError: the model is neither, so its weights can't be found.
    """
    made: Any = copy.deepcopy(model)
    module = getattr(made, "module", made)
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"The weights of a {type(model).__name__} can't be drawn anew: it is no torch module.")
    for name, weight in module.named_parameters():
        values = weight.float()
        noise = torch.randn(weight.shape, generator=torch_generator(seed, "randomised model", name))
        weight.copy_(values.mean() + values.std(correction=0) * noise.to(weight.device))
    made.name, made.folder = f"randomised {model.name}", None
    # The digest of the files that the model was loaded from would be that of the trained one.
    vars(made).pop("digest", None)
    return made
