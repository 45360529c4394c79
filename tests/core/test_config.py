import pytest
from pydantic import Field

from monosema.core import Config, ConfigError


class Inner(Config):
    rate: float = Field(0.1, gt=0)
    """How fast."""


class Outer(Config):
    k: int = Field(32, gt=0)
    """How many."""
    inner: Inner = Inner()
    """The rest."""
    name: str | None = None
    """Its name."""


def test_an_unknown_field_is_named_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"'nane'.*Did you mean 'name'"):
        Outer(nane="x")


def test_a_bad_value_is_named_with_what_is_valid() -> None:
    with pytest.raises(ConfigError, match=r"Outer\.k = 0 .*greater than 0"):
        Outer(k=0)
    with pytest.raises(ConfigError, match=r"Inner\.rate = -1"):
        Outer(inner={"rate": -1})


def test_configurations_are_values() -> None:
    config = Outer(k=4)
    with pytest.raises(Exception, match="frozen"):
        config.k = 5  # type: ignore[misc]
    assert config.replace(k=5) == Outer(k=5)
    assert Outer.from_dict(config.to_dict()) == config
    assert "name" not in config.to_dict()
    with pytest.raises(ConfigError):
        config.replace(k=-1)
