"""Models as they are published: tiny random ones with the fields of config.json of well-known models.

`published.jsonl` has one model a line: its name, by whose code it runs ("decoder" ours, "transformers" theirs, or
"refused", with the reason), and its config.json as it is on the hub, lists of layers shortened; "like" names the model
whose fields it shares but for those given. Sizes are shrunk, the set of fields is kept.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import randomised

from monosema.core import InputError, UnsupportedModelError, write_json
from monosema.models import AdaptedModel, Transformer, byte_tokenizer, load_model

VOCAB, LAYERS, HEADS, CONTEXT = 259, 2, 4, 32
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "n_embed", "d_model", "dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff", "hidden_dim", "moe_intermediate_size"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "seq_length"), CONTEXT),
    **{"vocab_size": VOCAB, "original_max_position_embeddings": 16, "sliding_window": 5, "window_size": 5},
    **{"d_kv": 8, "rotary_dim": 4, "state_size": 4, "d_inner": 64, "time_step_rank": 4, "max_window_layers": 1},
    **{"num_local_experts": 4, "num_experts": 8, "num_experts_per_tok": 2, "image_size": 28},
}
TOKENS = torch.randint(3, 256, (2, 11), generator=torch.Generator().manual_seed(0))


def published() -> dict[str, dict[str, Any]]:
    """The models, each with its whole configuration."""
    rows: dict[str, dict[str, Any]] = {}
    for line in (Path(__file__).parent / "published.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        base = rows[row["like"]]["config"] if "like" in row else {}
        config = {**base, **row["config"]}
        rows[row["name"]] = {**row, "config": {k: v for k, v in config.items() if k not in row.get("without", ())}}
    return rows


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The same fields at the size of a test; which heads share keys, and whether head_dim is unusual, is kept."""
    small: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and name != "quantization_config":
            small[name] = shrunk(value)
        elif name in ("layer_types", "no_rope_layers", "attention_layers"):
            small[name] = value[:LAYERS]
        elif name.endswith("_token_id") or name.endswith("_token_index"):
            small[name] = value % VOCAB if isinstance(value, int) and value >= 0 else value
        else:
            small[name] = value if value is None else SIZES.get(name, value)
    if isinstance(shared := config.get("num_key_value_heads"), int):
        small["num_key_value_heads"] = {1: 1, config["num_attention_heads"]: HEADS}.get(shared, HEADS // 2)
    if isinstance(width := config.get("head_dim"), int):
        small["head_dim"] = 8 if width * config.get("num_attention_heads", HEADS) == config["hidden_size"] else 12
    if isinstance(width := config.get("word_embed_proj_dim"), int):
        small["word_embed_proj_dim"] = 32 if width == config["hidden_size"] else 16
    if isinstance(share := config.get("partial_rotary_factor"), float):
        small["partial_rotary_factor"] = {0.4: 0.5}.get(share, share)
    return small


def as_transformers_has_it(config: dict[str, Any], folder: Path) -> Any:
    """A random model of transformers' own code, saved."""
    import transformers

    kind = transformers.CONFIG_MAPPING[config["model_type"]]
    name = config["architectures"][0]
    made = getattr(transformers, name) if hasattr(transformers, name) else transformers.LlamaForCausalLM
    model = randomised(made(kind.from_dict(config)).eval())
    model.save_pretrained(folder)
    return model


def save_rest(row: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """config.json as it was published, and a tokenizer, which may have tokens that the model has not."""
    write_json(folder / "config.json", config)
    tokenizer = byte_tokenizer()
    tokenizer.raw.add_special_tokens(row.get("added", []))
    tokenizer.raw.save(str(folder / "tokenizer.json"))


MODELS = published()


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row["result"] != "refused"])
@torch.inference_mode()
def test_published_models_compute_what_transformers_computes(name: str, tmp_path: Path) -> None:
    row = MODELS[name]
    config = shrunk(row["config"])
    theirs = as_transformers_has_it(config, tmp_path)
    save_rest(row, config, tmp_path)
    ours = load_model(tmp_path, dtype="float32")
    assert isinstance(ours, Transformer if row["result"] == "decoder" else AdaptedModel)
    writes = config["architectures"][0].endswith(("CausalLM", "LMHeadModel", "ConditionalGeneration"))
    wanted = theirs(TOKENS).logits if writes else theirs.base_model(TOKENS).last_hidden_state
    assert wanted.std() > 0.01
    torch.testing.assert_close(ours(TOKENS), wanted, atol=1e-4, rtol=0)
    for piece in row.get("added", []):
        with pytest.raises(InputError, match="no embedding for"):
            ours.tokenizer.encode(f"text {piece}")


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row["result"] == "refused"])
def test_published_models_that_would_be_computed_wrongly(name: str, tmp_path: Path) -> None:
    row = MODELS[name]
    save_rest(row, shrunk(row["config"]), tmp_path)
    with pytest.raises(UnsupportedModelError, match=row["why"]):
        load_model(tmp_path)


def table() -> str:
    """The models by family and by what runs them, as Markdown."""
    by = {"decoder": "our decoder", "transformers": "transformers' code", "refused": "refused"}
    entries = sorted(
        ((row["config"]["model_type"], by[row["result"]], row.get("why", "")), name) for name, row in MODELS.items()
    )
    lines = ["| family | by | models |", "|---|---|---|"]
    for (family, result, why), group in itertools.groupby(entries, key=lambda entry: entry[0]):
        reason = f": `{why}`" if why else ""
        names = ", ".join(name.partition("/")[2] for _, name in group)
        lines.append(f"| {family} | {result}{reason} | {names} |")
    return "\n".join(lines)


def test_the_manual_lists_them() -> None:
    manual = Path(__file__).parents[2] / "docs" / "models.md"
    assert table() in manual.read_text(encoding="utf-8")
