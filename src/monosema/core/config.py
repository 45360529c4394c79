"""The base of all configurations: frozen, keyword-only, validated when made."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from monosema.core.errors import ConfigError, nearest


class Config(BaseModel):
    """A frozen configuration that belongs to one class.

    Subclasses declare fields with a type, a default and a docstring line each. A wrong field or value raises
    ConfigError, which names the field, the value, and what would be valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_explain(type(self), error)) from None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Make the configuration from plain values, as read from TOML or JSON."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that TOML and JSON can hold; fields that are None are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def replace(self, **values: Any) -> Any:
        """A copy with some fields changed, validated again."""
        unchanged = {name: getattr(self, name) for name in type(self).model_fields if name not in values}
        return type(self)(**unchanged, **values)


def _explain(config: type[Config], error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(
                f"{config.__name__} has no field {field!r}.{nearest(field, config.model_fields)} "
                f"Its fields are: {', '.join(config.model_fields)}."
            )
        elif problem["type"] == "missing":
            parts.append(f"{config.__name__} needs the field {field!r}.")
        else:
            where = f"{config.__name__}.{field}" if field else config.__name__
            given = "" if not field else f" = {problem['input']!r}"
            message = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{where}{given} is not valid: {message[:1].lower()}{message[1:]}.".replace("..", "."))
    return " ".join(parts)
