"""Reading config.json: every field is used, known to change nothing, or refused by name."""

from __future__ import annotations

from typing import Any

from monosema.core import UnsupportedModelError
from monosema.models.config import AttentionConfig, RotaryConfig

__all__ = ["Fields", "rotary_config"]

_INERT = frozenset(
    (
        # who made it, and how it was stored
        *("_name_or_path", "architectures", "model_type", "torch_dtype", "dtype", "transformers_version"),
        *("auto_map", "_commit_hash", "_attn_implementation", "attn_implementation"),
        *("_attn_implementation_autoset", "unsloth_version", "unsloth_fixed"),
        # training only
        *("attention_dropout", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"),
        *("classifier_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "initializer_range", "pretraining_tp"),
        "gradient_checkpointing",
        # other heads and tasks
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
        *("summary_first_dropout", "id2label", "label2id", "num_labels", "problem_type", "task_specific_params"),
        "finetuning_task",
        # how it is called, and how text is sampled
        *("use_cache", "cache_implementation", "output_attentions", "output_hidden_states", "output_past"),
        *("return_dict", "return_dict_in_generate", "output_scores", "bos_token_id", "eos_token_id"),
        *("pad_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
        *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "prefix", "tokenizer_class", "max_length"),
        *("min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
        *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences"),
        *("exponential_decay_length_penalty", "remove_invalid_values", "tf_legacy_loss", "torchscript"),
        *("use_bfloat16", "n_ctx", "chunk_size_feed_forward", "pruned_heads", "tie_encoder_decoder"),
        "cross_attention_hidden_size",
    )
)


class Fields:
    """The fields of one config.json; each is taken once, and `finish` refuses what nobody took."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.family = str(values.get("model_type", "unknown"))
        self._values = dict(values)

    def take(self, name: str, default: Any = ...) -> Any:
        """The value of a field; the default where the field is absent or null."""
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
        """Refuse fields that nobody took, unless they are known to change nothing or are empty."""
        for name, value in self._values.items():
            if name not in _INERT and value not in (None, False, [], {}, ""):
                raise UnsupportedModelError(
                    f"config.json has the field {name!r} = {value!r}, which is not known for {self.family} models. "
                    "If it does not change what the model computes, remove it from a local copy of the model."
                )


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def rotary_config(fields: Fields, values: dict[str, Any] | None, dims: int, base: float, context: int) -> RotaryConfig:
    """A rotary embedding from ``rope_parameters`` or ``rope_scaling``; `base` is the default.

    Raises:
        UnsupportedModelError: another type of scaling than none, linear, llama3; or a field that is not known.
    """
    inside = Fields({**(values or {}), "model_type": f"{fields.family} (rope)"})
    kind = inside.take("rope_type", inside.take("type", "default"))
    inside.take("type", None)
    base = inside.take("rope_theta", base)
    share = inside.take("partial_rotary_factor", 1.0)
    more: dict[str, Any] = {}
    if kind == "linear":
        more = {"scaling": "linear", "factor": inside.take("factor")}
    elif kind == "llama3":
        more = {
            "scaling": "llama3",
            "factor": inside.take("factor"),
            "low_frequency_factor": inside.take("low_freq_factor"),
            "high_frequency_factor": inside.take("high_freq_factor"),
            "original_context": inside.take("original_max_position_embeddings", context),
        }
    elif kind != "default":
        raise fields.unsupported("rope_type", kind, "'default', 'linear', 'llama3'")
    inside.finish()
    return RotaryConfig(base=base, dims=int(dims * share), **more)


def same_attention(layers: int, **values: Any) -> tuple[AttentionConfig, ...]:
    """The same attention in every layer."""
    return (AttentionConfig(**values),) * layers
