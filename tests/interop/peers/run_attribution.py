"""Captum and LXT attribute the answer of a model of transformers: a folder with model/ and asked.safetensors.

asked holds ids and twin [1, pos], right and wrong. Written to found.safetensors, one score a position: gradient (norm),
gradient_input (baseline 0), integrated_gradients (50 Gauss–Legendre nodes from the twin), occlusion (by the twin)
and attn_lrp.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import torch
from captum.attr import FeatureAblation, IntegratedGradients, Saliency
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama


class Interface(dict[str, object]):
    """Attention functions as transformers 5 asks for them; LXT puts a plain dictionary there."""

    def get_interface(self, name: str, eager: object) -> object:
        return eager if name == "eager" else self[name]


folder = Path(sys.argv[1])
asked = load_file(folder / "asked.safetensors")
ids, twin, right, wrong = asked["ids"], asked["twin"], int(asked["right"]), int(asked["wrong"])
found = {}


def opened() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager"
    ).eval()


def answer(model: torch.nn.Module, **inputs: torch.Tensor) -> torch.Tensor:
    last = model(**inputs, use_cache=False).logits[:, -1]
    return last[:, right] - last[:, wrong]


def relevance() -> torch.Tensor:
    # LXT 2.1 imports rules of models that need torchvision, and functions of older releases of transformers.
    for name, needed in (("bert", "modeling_bert attnLRP"), ("vit_torch", "vision_transformer cp_LRP")):
        absent = ModuleType(f"lxt.efficient.models.{name}")
        absent.__dict__.update(dict.fromkeys(needed.split()))
        sys.modules[absent.__name__] = absent
    from lxt.efficient import monkey_patch
    from lxt.efficient.models.llama import attnLRP

    monkey_patch(modeling_llama, attnLRP)
    modeling_llama.ALL_ATTENTION_FUNCTIONS = Interface(modeling_llama.ALL_ATTENTION_FUNCTIONS)
    model = opened()
    x = model.get_input_embeddings()(ids).detach().requires_grad_()
    answer(model, inputs_embeds=x).sum().backward()
    return (x * x.grad).sum(-1)[0].detach()


model = opened()
x, x0 = (model.get_input_embeddings()(one).detach() for one in (ids, twin))


def by_embeddings(e: torch.Tensor) -> torch.Tensor:
    return answer(model, inputs_embeds=e)


slope = Saliency(by_embeddings).attribute(x, abs=False)
found["gradient"] = slope[0].norm(dim=-1)
found["gradient_input"] = (slope * x)[0].sum(-1)
integrated = IntegratedGradients(by_embeddings).attribute(x, x0, n_steps=50, method="gausslegendre")
found["integrated_gradients"] = integrated[0].sum(-1)
found["occlusion"] = FeatureAblation(lambda one: answer(model, input_ids=one)).attribute(ids, twin)[0].float()
found["attn_lrp"] = relevance()  # last: it changes transformers for good
save_file({name: value.detach().contiguous() for name, value in found.items()}, folder / "found.safetensors")
