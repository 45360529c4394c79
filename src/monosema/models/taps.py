"""Capture and edits at a model's sites, attached from outside.

A model calls ``tap(component, value)`` at each of its sites where something is attached, and only there; what is
attached are plain functions from the value to its successor. A capture is a function that keeps the value; an edit is
one that changes it; the end of an early stop is one that raises. They run in the order in which they were attached, so
a capture within an edit sees what the edit made. Both are context managers, and leave nothing behind.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from monosema.core import Site, SiteError, nearest

Action = Callable[[Tensor], Tensor]


class Tap:
    """What is attached to the sites of one block (or to those outside the blocks)."""

    __slots__ = ("_actions",)

    def __init__(self, actions: Mapping[str, list[Action]]) -> None:
        self._actions = actions

    def wants(self, *components: str) -> bool:
        """Whether something is attached to any of these."""
        return any(component in self._actions for component in components)

    def __call__(self, component: str, value: Tensor) -> Tensor:
        """The value that the model goes on with, after all that is attached there."""
        for action in self._actions.get(component, ()):
            value = action(value)
        return value


class Taps:
    """All that is attached to one model right now."""

    def __init__(self) -> None:
        self._attached: dict[int | None, dict[str, list[Action]]] = {}

    def at(self, layer: int | None) -> Tap | None:
        """The tap of a block, or of the sites outside the blocks; None where nothing is attached."""
        actions = self._attached.get(layer)
        return Tap(actions) if actions else None

    @contextlib.contextmanager
    def attach(self, site: Site, action: Action) -> Iterator[None]:
        """Run an action at a site while the block lasts."""
        components = self._attached.setdefault(site.layer, {})
        actions = components.setdefault(site.component, [])
        actions.append(action)
        try:
            yield
        finally:
            index = next(i for i in reversed(range(len(actions))) if actions[i] is action)
            del actions[index]
            if not actions:
                del components[site.component]
            if not components:
                del self._attached[site.layer]

    def __len__(self) -> int:
        return sum(len(actions) for components in self._attached.values() for actions in components.values())


class Captured(Mapping[Site, Tensor]):
    """Activations by site; a key may be given in any text form. Holds those of the latest forward pass."""

    def __init__(self) -> None:
        self._values: dict[Site, Tensor] = {}

    def keep(self, site: Site) -> Action:
        """The action that keeps the value of a site."""

        def action(value: Tensor) -> Tensor:
            self._values[site] = value
            return value

        return action

    def __getitem__(self, site: Site | str) -> Tensor:
        site = Site.parse(site)
        if site not in self._values:
            have = ", ".join(key.short for key in self._values) or "nothing: run the model within the block"
            raise SiteError(f"{site} was not captured. There is {have}.")
        return self._values[site]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, site: object) -> bool:
        return isinstance(site, (str, Site)) and Site.parse(site) in self._values


class _AllReachedError(Exception):
    """Ends a forward pass after the last site that was asked for; never leaves this module."""


class SiteAccess(ABC):
    """Capture, edits and activations for any model that can attach actions to its sites."""

    @abstractmethod
    def sites(self) -> list[Site]:
        """All sites, in the order in which the model comes to them."""

    @abstractmethod
    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension there. Raises SiteError where it depends on the input."""

    @abstractmethod
    def attach(self, site: Site, action: Action) -> contextlib.AbstractContextManager[None]:
        """Run an action at a site that is known to exist, while the block lasts."""

    @abstractmethod
    def run(self, tokens: Any, attention_mask: Any = None) -> object:
        """Run the model, for the sake of what is attached."""

    def find(self, site: Site | str) -> Site:
        """The site, if the model has it. Raises SiteError, with the nearest that it has, if not."""
        parsed = Site.parse(site)
        if parsed.other:
            raise SiteError(
                f"{parsed.short} is a site of a second model, and this is one model: read both in a ModelPair."
            )
        known = self.sites()
        if parsed not in known:
            raise SiteError(self._explain_missing(parsed, known))
        return parsed

    def _explain_missing(self, site: Site, known: list[Site]) -> str:
        names = [other.short if not other.is_module else str(other) for other in known]
        return f"There is no site {str(site)!r} in this model.{nearest(site.short, names)}"

    @contextlib.contextmanager
    def capture(self, *sites: Site | str) -> Iterator[Captured]:
        """Keep the activations at these sites of every forward pass in the block; gradients flow through them."""
        captured = Captured()
        with contextlib.ExitStack() as stack:
            for site in map(self.find, sites):
                stack.enter_context(self.attach(site, captured.keep(site)))
            yield captured

    @contextlib.contextmanager
    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replace the activation at a site by ``fn(activation)`` in every forward pass in the block.

        `fn` gives a tensor of the same shape; it must not write into the one it is given where gradients are wanted.
        """
        found = self.find(site)

        def action(value: Tensor) -> Tensor:
            changed = fn(value)
            if not isinstance(changed, Tensor) or changed.shape != value.shape:
                got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
                raise SiteError(f"The edit of {found} must return a tensor of shape {tuple(value.shape)}, got {got}.")
            return changed.to(value.dtype)

        with self.attach(found, action):
            yield

    def activations(self, tokens: Any, sites: Sequence[Site | str], attention_mask: Any = None) -> dict[Site, Tensor]:
        """Activations at the sites, from a forward pass that stops after the last of them."""
        found = [self.find(site) for site in sites]
        captured = Captured()

        def stop(value: Tensor) -> Tensor:
            if len(captured) == len(set(found)):
                raise _AllReachedError
            return value

        with contextlib.ExitStack() as stack:
            for site in dict.fromkeys(found):
                stack.enter_context(self.attach(site, captured.keep(site)))
                stack.enter_context(self.attach(site, stop))
            with contextlib.suppress(_AllReachedError):
                self.run(tokens, attention_mask)
        unreached = [str(site) for site in found if site not in captured]
        if unreached:
            raise SiteError(f"The model ran without coming to {', '.join(unreached)}.")
        return {site: captured[site] for site in found}
