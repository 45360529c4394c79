"""Features in the form of Neuronpedia's batches (what SAEDashboard writes and Neuronpedia takes in).

What an atlas does not hold is an empty list: the histogram of logits, alignment with neurons, and correlations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_TOP = {"bin_min": -1.0, "bin_contains": -1.0}
"""Ends of the strongest passages, which are no interval, by which they are told from the others."""
_ABSENT = (
    *(f"neuron_alignment_{part}" for part in ("indices", "values", "l1")),
    *(f"correlated_{kind}_{part}" for kind in ("neurons", "features") for part in ("indices", "l1", "pearson")),
    *(f"logits_hist_data_bar_{part}" for part in ("heights", "values")),
    "decoder_weights_dist",
    "vector",
)


def batch(features: Sequence[dict[str, Any]], model: str, layer: int, name: str, dataset: str, passages: int) -> Any:
    """Return a batch of features.

    Args:
        features: as `FeatureTables.feature` gives them.
        model, layer, name: of the model, the layer that the dictionary reads, and the dictionary.
        dataset: name of the text.
        passages: number of passages of the text; 0 where it is not known.
    """
    found = [_feature(one, dataset, passages) for one in features]
    return {"model_id": model, "layer": layer, "sae_set": name, "sae_id_suffix": None, "features": found}


def _feature(feature: dict[str, Any], dataset: str, passages: int) -> dict[str, Any]:
    histogram, top = feature["histogram"], [one for one in feature["passages"] if one["kind"] == "top"]
    width = (histogram["high"] - histogram["low"]) / max(1, len(histogram["counts"]))
    return {
        "feature_index": feature["latent"],
        **{name: [] for name in _ABSENT},
        **{f"pos_{part}": [pair[i] for pair in feature["promoted"]] for i, part in enumerate(("str", "values"))},
        **{f"neg_{part}": [pair[i] for pair in feature["suppressed"]] for i, part in enumerate(("str", "values"))},
        "frac_nonzero": feature["density"],
        "freq_hist_data_bar_heights": histogram["counts"],
        "freq_hist_data_bar_values": [histogram["low"] + (i + 0.5) * width for i in range(len(histogram["counts"]))],
        "n_prompts_total": passages,
        "n_tokens_in_prompt": max((len(one["tokens"]) for one in top), default=0),
        "dataset": dataset,
        "activations": [_passage(one, feature["passages"]) for one in feature["passages"]],
    }


def _passage(passage: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    maxima = [one["maximum"] for one in others if one["kind"] == passage["kind"]]
    tenth = {"bin_min": min(maxima), "bin_contains": 0.1}
    return {
        **(_TOP if passage["kind"] == "top" else tenth),
        "bin_max": max(maxima),
        "tokens": passage["tokens"],
        "values": passage["activations"],
        "qualifying_token_index": passage["peak"],
    }
