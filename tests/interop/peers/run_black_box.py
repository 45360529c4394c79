"""shapiq, inseq and interpreto explain the answer of a model of transformers: a folder with model/ and asked.json.

asked has text, ids, twin, right, wrong, scores and unknown (a token's id). Written to found.safetensors: shapley [pos]
(shapiq's exact values, the twin for absent tokens), occlusion [pos] (inseq, absolute, the unknown token),
value_zeroing [pos attributed, layer] of the last position (inseq), deletion and insertion [pos + 1] (interpreto, the
probability of `right` after each step in the order of the scores).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import inseq
import numpy as np
import torch
from inseq.attr.feat.ops.value_zeroing import ValueZeroing
from interpreto.attributions.base import AttributionOutput, ModelTask
from interpreto.attributions.metrics import Deletion, Insertion
from interpreto.commons.granularity import Granularity, GranularityAggregationStrategy
from safetensors.torch import save_file
from shapiq import ExactComputer
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, BatchEncoding, PreTrainedTokenizerFast

folder = Path(sys.argv[1])
asked = json.loads((folder / "asked.json").read_text())
ids, twin, right, wrong = asked["ids"], asked["twin"], asked["right"], asked["wrong"]
raw = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
unknown = raw.id_to_token(asked["unknown"])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=raw, bos_token=unknown, eos_token=unknown, pad_token=unknown, unk_token=unknown, mask_token=unknown
)
model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
assert tokenizer(asked["text"]).input_ids == ids
found = {}


@torch.no_grad()
def game(present: np.ndarray) -> np.ndarray:
    rows = torch.where(torch.tensor(present, dtype=torch.bool), torch.tensor(ids), torch.tensor(twin))
    last = model(rows).logits[:, -1]
    return (last[:, right] - last[:, wrong]).numpy()


values = ExactComputer(game, n_players=len(ids))("SV", 1)
found["shapley"] = torch.tensor([float(values[(player,)]) for player in range(len(ids))])

# inseq 0.7.1 expects blocks that return a tuple, as in transformers 4.
of_tuple = ValueZeroing.get_states_extract_and_patch_hook


def of_tensor(self: ValueZeroing, *args: int, **named: int) -> Callable[..., torch.Tensor]:
    inner = of_tuple(self, *args, **named)
    return lambda module, given, output: inner(module, given, (output,))[0]


ValueZeroing.get_states_extract_and_patch_hook = of_tensor
inseq.register_step_function(lambda args: _gap(args.forward_output.logits), identifier="gap")


def _gap(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, -1, right] - logits[:, -1, wrong]


def by_inseq(method: str, **named: str) -> torch.Tensor:
    opened = inseq.load_model(model, method, tokenizer=tokenizer)
    given = asked["text"]
    out = opened.attribute(given, given + tokenizer.decode([right]), show_progress=False, **named)
    return out.sequence_attributions[0].target_attributions[: len(ids), 0]


found["occlusion"] = by_inseq("occlusion", attributed_fn="gap")
found["value_zeroing"] = by_inseq("value_zeroing")

whole = torch.tensor([[*ids, right]])
scores = torch.tensor([[*asked["scores"], -1e9]])  # The answer itself goes last.
output = AttributionOutput(
    attributions=scores,
    elements=[*ids, right],
    model_inputs_to_explain=BatchEncoding({"input_ids": whole, "attention_mask": torch.ones_like(whole)}),
    targets=torch.tensor([right]),
    model_task=ModelTask.GENERATION,
    granularity=Granularity.ALL_TOKENS,
    granularity_aggregation_strategy=GranularityAggregationStrategy.MEAN,
)
for name, metric in (("deletion", Deletion), ("insertion", Insertion)):
    _, curves = metric(model, tokenizer, n_perturbations=len(ids) + 1).evaluate([output])
    found[name] = curves[0][0].detach()[: len(ids) + 1]
save_file({name: value.float().contiguous() for name, value in found.items()}, folder / "found.safetensors")
