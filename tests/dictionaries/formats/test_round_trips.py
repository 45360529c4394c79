"""Every architecture through every format: equal codes and reconstructions, or a refusal that writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import FormatError, Site
from monosema.dictionaries import (
    FORMATS,
    Dictionary,
    Metadata,
    Neurons,
    SparseCoder,
    load_dictionary,
    make_coder,
    save_dictionary,
    title_of,
)

D, M = 8, 20
METADATA = Metadata("specimen", Site.parse("3.resid_post"), 128, False, "builtin", 1000, {"neuronpedia_id": "x"})


def filled(dictionary: SparseCoder) -> Dictionary:
    """Random biases, thresholds and scales, so that nothing is right by being 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*dictionary.named_parameters(), *dictionary.named_buffers()]:
            if name == "threshold":
                tensor.uniform_(0.1, 2.0, generator=generator)
            elif (name.startswith("b_") or name.endswith("bias")) and not (
                dictionary.title == "Tied L1" and name == "b_dec"
            ):
                tensor.normal_(generator=generator)
            elif name == "magnitude_scale":
                tensor.normal_(std=0.3, generator=generator)
    return dictionary  # type: ignore[return-value]


def make(architecture: str, **settings: object) -> Callable[[], Dictionary]:
    return lambda: filled(make_coder(architecture, D, M, metadata=METADATA, **settings))


def behind(normalisation: str, coder: SparseCoder) -> SparseCoder:
    coder.normalisation = normalisation
    return coder


def free_norms() -> Dictionary:
    dictionary = make("l1")()
    with torch.no_grad():
        dictionary.W_dec.mul_(torch.rand(M, 1, generator=torch.Generator().manual_seed(2)) + 0.5)
    return dictionary


topk = make("topk", k=3)
ALL: dict[str, Callable[[], Dictionary]] = {
    "topk": topk,
    "topk, k = m": make("topk", k=M),
    "l1": make("l1", recipe="2023"),
    "l1, free norms": free_norms,
    "p-anneal": make("p_anneal", p_end=0.5),
    "tied": make("tied_l1"),
    "tied, own encoder": make("tied_l1", tied=False),
    "jumprelu": make("jumprelu"),
    "jumprelu, not centred": make("jumprelu", centre_input=False),
    "gated": make("gated"),
    "batch topk": make("batch_topk", k=3),
    "matryoshka": make("matryoshka", k=3, prefixes=(0.2, 0.5, 1.0)),
    "topk, layer norm": lambda: behind("layer_norm", topk()),
    "jumprelu, rescaled": lambda: behind("rescale", make("jumprelu")()),
}
NORMALISED = {"topk, layer norm", "jumprelu, rescaled"}
PLAIN = set(ALL) - NORMALISED
TOPK = {"topk", "topk, k = m"}
RELU = {"l1", "l1, free norms", "p-anneal", "tied", "tied, own encoder"}
HOLDS: dict[str, set[str]] = {
    "monosema": set(ALL),
    "saelens": set(ALL),
    "sparsify": TOPK,
    "dictionary_learning": PLAIN,
    "openai": RELU | {"topk, layer norm"},
    "gemma_scope": PLAIN - TOPK,
    "openmoss": PLAIN | {"jumprelu, rescaled"},
}
SAME_CLASS: dict[str, set[str]] = {
    "monosema": set(ALL),
    "saelens": set(ALL),
    "sparsify": TOPK,
    "dictionary_learning": PLAIN,
    "openai": {"l1", "l1, free norms", "topk, layer norm"},
    "gemma_scope": {"jumprelu", "jumprelu, not centred"},
    "openmoss": TOPK | {"l1", "l1, free norms", "jumprelu", "jumprelu, not centred", "jumprelu, rescaled"},
}


def rows(n: int = 300) -> torch.Tensor:
    return 3 * torch.randn(n, D, generator=torch.Generator().manual_seed(0)) + 1


def test_the_table_names_every_format() -> None:
    assert set(HOLDS) == set(SAME_CLASS) == set(FORMATS)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(format: str, name: str, tmp_path: Path) -> None:
    dictionary = ALL[name]()
    folder = tmp_path / "saved"
    if name not in HOLDS[format]:
        with pytest.raises(FormatError, match=r"can't hold .*othing was written"):
            save_dictionary(dictionary, folder, format)
        assert not folder.exists()
        return
    save_dictionary(dictionary, folder, format)
    loaded = load_dictionary(folder)
    x = rows()
    codes = dictionary.encode(x).dense()
    assert 0.05 < float((codes != 0).float().mean()) < 0.95
    torch.testing.assert_close(loaded.encode(x).dense(), codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loaded(x), dictionary(x), rtol=1e-4, atol=1e-5)
    assert (title_of(loaded) == title_of(dictionary)) == (name in SAME_CLASS[format])


@pytest.mark.parametrize("name", ALL)
def test_our_own_layout_loses_nothing(name: str, tmp_path: Path) -> None:
    dictionary = ALL[name]()
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    x = rows()
    assert torch.equal(loaded.encode(x).dense(), dictionary.encode(x).dense())
    assert torch.equal(loaded(x), dictionary(x))
    assert loaded.metadata == dictionary.metadata
    if name not in NORMALISED:
        assert loaded.config == dictionary.config  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_survives_every_format(format: str, tmp_path: Path) -> None:
    dictionary = ALL[sorted(HOLDS[format])[0]]()
    dictionary.metadata = METADATA
    save_dictionary(dictionary, tmp_path, format)
    assert load_dictionary(tmp_path).metadata == METADATA


@pytest.mark.parametrize("format", FORMATS)
def test_a_baseline_is_refused(format: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the kind Neurons; nothing was written"):
        save_dictionary(Neurons(D), tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"'sparsfy'.*Did you mean 'sparsify'.*gemma_scope"):
        save_dictionary(topk(), tmp_path / "out", "sparsfy")


def test_a_folder_holds_one_layout(tmp_path: Path) -> None:
    """Of two, whoever reads the folder would find the one that was not meant."""
    save_dictionary(topk(), tmp_path, "dictionary_learning")
    save_dictionary(topk(), tmp_path, "dictionary_learning")
    with pytest.raises(FormatError, match="in the layout of dictionary_learning already; nothing was written"):
        save_dictionary(topk(), tmp_path, "sparsify")
    assert not (tmp_path / "sae.safetensors").exists()


def test_tied_matrices_that_differ(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_dictionary(ALL["tied"](), tmp_path)
    file = tmp_path / "sae_weights.safetensors"
    save_file(load_file(file) | {"W_dec": torch.randn(M, D)}, file)
    with pytest.raises(FormatError, match="Tied L1 with one matrix"):
        load_dictionary(tmp_path)


def test_heads_are_reshaped_for_saelens(tmp_path: Path) -> None:
    """Our rows hold all heads side by side; SAELens takes them apart and puts them together itself."""
    import json

    dictionary = make_coder("topk", d_in=D, n_latents=M, k=3, metadata=Metadata("m", Site.parse("1.attn.z")))
    save_dictionary(dictionary, tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text())["reshape_activations"] == "hook_z"
    assert load_dictionary(tmp_path).metadata.site == Site.parse("1.attn.z")


def test_normalised_codes_carry_their_rows() -> None:
    from monosema.core import VectorError
    from monosema.dictionaries import Codes

    dictionary = ALL["topk, layer norm"]()
    x = rows(20)
    codes = dictionary.encode(x)
    assert codes.scale is not None
    assert codes.shift is not None
    with pytest.raises(VectorError, match="normalises each row"):
        dictionary.decode(Codes(codes.values, codes.indices, codes.n_latents))
    assert dictionary(x[:0]).shape == (0, D)
    constant = torch.full((2, D), 3.0)
    assert torch.isfinite(dictionary(constant)).all()
