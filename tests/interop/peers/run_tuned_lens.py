"""Write a tuned lens of a tiny GPT-2 with tuned-lens: model/, lens/, and the lens' logits in logits.safetensors."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel
from tuned_lens import TunedLens

FOLDER = Path(sys.argv[1])

torch.manual_seed(0)
config = GPT2Config(vocab_size=259, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=256, eos_token_id=257)
model = GPT2LMHeadModel(config).eval()
model.config.name_or_path = "tiny"
lens = TunedLens.from_model(model)
for translator in lens:
    torch.nn.init.normal_(translator.weight, std=0.1)
    torch.nn.init.normal_(translator.bias, std=0.1)
lens.save(FOLDER / "lens")
model.save_pretrained(FOLDER / "model")
with torch.no_grad():
    states = model(torch.tensor([[3, 1, 4, 1, 5]]), output_hidden_states=True).hidden_states
    logits = {str(layer): lens(states[layer], layer).contiguous() for layer in range(config.n_layer)}
save_file(logits, FOLDER / "logits.safetensors")
