import pytest

from monosema.core import Site, SiteError


@pytest.mark.parametrize(
    ("text", "name", "short"),
    [
        ("3.resid_post", "blocks.3.hook_resid_post", "3.resid_post"),
        ("blocks.3.hook_resid_post", "blocks.3.hook_resid_post", "3.resid_post"),
        ("0.q", "blocks.0.attn.hook_q", "0.q"),
        ("0.attn.q", "blocks.0.attn.hook_q", "0.q"),
        ("11.mlp.post", "blocks.11.mlp.hook_post", "11.mlp.post"),
        ("blocks.11.mlp.hook_post", "blocks.11.mlp.hook_post", "11.mlp.post"),
        ("2.ln1.scale", "blocks.2.ln1.hook_scale", "2.ln1.scale"),
        ("hook_embed", "hook_embed", "embed"),
        ("ln_final.scale", "ln_final.hook_scale", "ln_final.scale"),
        ("encoder.layer.3", "encoder.layer.3", "encoder.layer.3"),
    ],
)
def test_all_text_forms_name_one_site(text: str, name: str, short: str) -> None:
    site = Site.parse(text)
    assert str(site) == name
    assert site.short == short
    assert Site.parse(str(site)) == Site.parse(site.short) == Site.parse(site) == site


def test_only_paths_of_modules_are_module_sites() -> None:
    assert Site.parse("encoder.layer.3").is_module
    assert not Site.parse("3.resid_post").is_module
    assert not Site.parse("embed").is_module


@pytest.mark.parametrize("text", ["", "a b", "3..resid_post", "resid_post!"])
def test_text_that_cannot_be_a_site(text: str) -> None:
    with pytest.raises(SiteError, match=r"3\.resid_post"):
        Site.parse(text)


def test_a_block_has_only_known_components() -> None:
    with pytest.raises(SiteError, match="resid_post"):
        Site(3, "resid_pots")
    with pytest.raises(SiteError):
        Site(-1, "resid_post")
