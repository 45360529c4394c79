"""Random models of transformers' own code."""

from __future__ import annotations

import json
from typing import Any

import torch


def foreign_model(kind: str, settings: dict[str, Any]) -> Any:
    """A random model of transformers' own code, its weights large enough that every branch is felt."""
    import transformers

    config_class = getattr(transformers, f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config")
    model_class = getattr(transformers, f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")
    config = config_class(**json.loads(json.dumps(settings)))
    config._attn_implementation = "eager"
    return randomised(model_class(config).eval())


def randomised(model: Any) -> Any:
    """The model with random weights, large enough that every branch is felt."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return model
