"""Reading config.json: a field is used, or known to change nothing, or noted, or refused because it would be ignored.

Who wrote a model also writes fields of his own into its config.json. What transformers' configuration class of the
family does not read can't change what transformers computes, and so nothing of what we compute; what it reads and we
do not take would be ignored silently, so it is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from typing import Any

from monosema.core import UnsupportedModelError
from monosema.models.config import AttentionConfig, RotaryConfig

_INERT = frozenset(
    (
        # who made it, and how it was stored
        *("_name_or_path", "architectures", "model_type", "torch_dtype", "dtype", "transformers_version"),
        *("auto_map", "_commit_hash", "_attn_implementation", "attn_implementation"),
        *("_attn_implementation_autoset", "unsloth_version", "unsloth_fixed", "_model_name_or_path"),
        *("is_llama_config", "transformers.js_config", "custom_pipelines", "finetuned"),
        # training only
        *("attention_dropout", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"),
        *("classifier_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "initializer_range", "pretraining_tp"),
        *("gradient_checkpointing", "predict_special_tokens", "n_special"),
        # other heads and tasks
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
        *("summary_first_dropout", "id2label", "label2id", "num_labels", "problem_type", "task_specific_params"),
        *("finetuning_task", "_num_labels"),
        # how it is called, and how text is sampled
        *("use_cache", "cache_implementation", "output_attentions", "output_hidden_states", "output_past"),
        *("return_dict", "return_dict_in_generate", "output_scores", "bos_token_id", "eos_token_id"),
        *("pad_token_id", "unk_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id"),
        "forced_eos_token_id",
        *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "prefix", "tokenizer_class", "max_length"),
        *("min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
        *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences"),
        *("exponential_decay_length_penalty", "remove_invalid_values", "tf_legacy_loss", "torchscript"),
        *("use_bfloat16", "n_ctx", "chunk_size_feed_forward", "pruned_heads", "tie_encoder_decoder"),
        *("cross_attention_hidden_size", "is_decoder", "max_sequence_length", "sliding_window_size"),
    )
)
_CHANGING = frozenset(
    (
        # no family's class reads these, and yet they say that the weights are meant for another computation
        *("quantization_config", "quantization", "compression_config", "use_mrope", "mrope_section"),
        *("attention_sinks", "clip_qkv", "mscale", "mscale_all_dim"),
        *("num_local_experts", "num_experts", "embedding_multiplier", "logits_scaling", "residual_multiplier"),
    )
)
_logger = logging.getLogger(__name__)


class Fields:
    """The fields of one config.json; each is taken once, and `finish` refuses what nobody took."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.family = str(values.get("model_type", "unknown"))
        self._values = dict(values)

    def take(self, name: str, default: Any = ...) -> Any:
        """Return the value of a field; the default where the field is absent, or null and no measure."""
        if isinstance(default, float) and self._values.get(name, default) is None:
            raise UnsupportedModelError(
                f"config.json of this {self.family} model says {name} = null, and it needs a number, such as {default}."
            )
        value = self._values.pop(name, None)
        if value is not None:
            return value
        if default is ...:
            raise UnsupportedModelError(f"config.json of this {self.family} model lacks the field {name!r}.")
        return default

    def take_nullable(self, name: str, default: Any) -> Any:
        """The value of a field, where null is a value of its own; the default where it is absent."""
        return self._values.pop(name, default)

    def require(self, name: str, supported: Any) -> None:
        """Refuse any value of a field but the one that is supported, which is also its default."""
        value = self.take(name, supported)
        if value != supported:
            raise self.unsupported(name, value, repr(supported))

    def choose(self, name: str, default: Any, choices: dict[Any, Any]) -> Any:
        """Translate a field's value; refuse one that is not among the choices."""
        value = self.take(name, default)
        if value not in choices:
            raise self.unsupported(name, value, ", ".join(map(repr, choices)))
        return choices[value]

    def unsupported(self, name: str, value: Any, supported: str) -> UnsupportedModelError:
        """The error for a value that would be computed wrongly."""
        return UnsupportedModelError(
            f"{self.family} models with {name} = {value!r} are not supported: it changes what the model computes. "
            f"Supported: {supported}."
        )

    def finish(self) -> None:
        """Refuse fields that nobody took, unless they change nothing; those that nobody knows are noted once."""
        if self._values.get("auto_map"):
            _note(
                f"The folder of this {self.family} model brings code of its own (auto_map), which is not run: monosema "
                "computes the family itself. Where that code changes it, wrap it in AdaptedModel."
            )
        unknown = [n for n, value in self._values.items() if n not in _INERT and value not in (None, False, [], {}, "")]
        if not unknown:
            return
        read = _CHANGING | _read_by_transformers(self.family)
        for name in unknown:
            if name in read:
                raise UnsupportedModelError(
                    f"config.json has the field {name!r} = {self._values[name]!r}, which is not supported for "
                    f"{self.family} models, though it may change what the model computes. If it does not, remove it "
                    "from a local copy of the model."
                )
        _note(f"config.json of this {self.family} model has fields that change nothing: {', '.join(unknown)}.")


@functools.lru_cache(maxsize=64)
def _read_by_transformers(family: str) -> frozenset[str]:
    """The fields that transformers' configuration class of a family reads; none where it has no such family."""
    from transformers import CONFIG_MAPPING

    if family not in CONFIG_MAPPING:
        return frozenset()
    kind = CONFIG_MAPPING[family]
    return frozenset(field.name for field in dataclasses.fields(kind)) | frozenset(kind.attribute_map)


@functools.lru_cache(maxsize=1024)
def _note(message: str) -> None:
    """Say something on stderr, once."""
    _logger.warning(message)


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def rotary_config(
    fields: Fields, values: dict[str, Any] | None, dims: int, base: float, context: int, trained: int | None = None
) -> RotaryConfig:
    """A rotary embedding from ``rope_parameters`` or ``rope_scaling``.

    Args:
        fields: of the model, for errors.
        values: what is said of the embedding.
        dims: width of a head.
        base: the default one.
        context: longest sequence.
        trained: of a family that may use longrope, the context that it was trained on and keeps to.

    Raises:
        UnsupportedModelError: another type of scaling than none, linear, dynamic, llama3, yarn, and longrope
            where it may be.
    """
    inside = Fields({**(values or {}), "model_type": f"{fields.family} (rope)"})
    kind = inside.take("rope_type", inside.take("type", "default"))
    inside.take("type", None)
    base = inside.take("rope_theta", base)
    dims = int(dims * inside.take("partial_rotary_factor", 1.0))
    original = inside.take("original_max_position_embeddings", context)
    more: dict[str, Any] = {}
    if kind in ("linear", "dynamic"):
        more = {"scaling": kind, "factor": inside.take("factor")}
    elif kind == "llama3":
        more = {
            "scaling": kind,
            "factor": inside.take("factor"),
            "low_frequency_factor": inside.take("low_freq_factor"),
            "high_frequency_factor": inside.take("high_freq_factor"),
            "original_context": original,
        }
    elif kind == "yarn":
        inside.require("truncate", True)
        factor = inside.take("factor")
        more = {
            "scaling": kind,
            "factor": factor,
            "low_frequency_factor": inside.take("beta_slow", 1.0),
            "high_frequency_factor": inside.take("beta_fast", 32.0),
            "original_context": original,
            "magnitude": inside.take("attention_factor", 1 + 0.1 * math.log(max(factor, 1))),
        }
    elif kind == "longrope" and trained is not None:
        stretch = inside.take("factor", context / trained)
        usual = 1.0 if stretch <= 1 else (1 + math.log(stretch) / math.log(trained)) ** 0.5
        magnitude = inside.take("attention_factor", usual)
        more = {"scaling": kind, "factors": tuple(inside.take("short_factor")), "magnitude": magnitude}
        inside.take("long_factor", None)
    elif kind != "default":
        raise fields.unsupported("rope_type", kind, "'default', 'linear', 'dynamic', 'llama3', 'yarn'")
    inside.finish()
    return RotaryConfig(base=base, dims=dims, **more)


def same_attention(layers: int, **values: Any) -> tuple[AttentionConfig, ...]:
    """Make one attention configuration for every layer."""
    return (AttentionConfig(**values),) * layers
