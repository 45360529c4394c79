"""Hooks: captures and edits at a model's sites, attached from outside.

A model calls ``hooks(component, value)`` at each of its sites where something is attached, and only there. An action is
a function from the value and the forward pass to the value's successor. A capture is an action that keeps the value; an
edit is one that changes it; an early stop is one that raises. Actions run in the order in which they were attached, so
a capture within an edit sees the edited value. All are context managers and leave nothing behind; one whose site no
forward pass came to is an error.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from monosema.core import Site, SiteError, nearest
from monosema.models.context import ForwardContext

Action = Callable[[Tensor, ForwardContext], Tensor]
"""From the value at a site, and the pass that it is of, to the value that the model goes on with."""
V = TypeVar("V")


class LayerHooks:
    """The actions at the sites of one block (or outside the blocks), in one forward pass."""

    __slots__ = ("_actions", "_context")

    def __init__(self, actions: Mapping[str, list[Action]], context: ForwardContext) -> None:
        self._actions, self._context = actions, context

    def wants(self, *components: str) -> bool:
        """Return True if something is attached to any of these."""
        return any(component in self._actions for component in components)

    def __call__(self, component: str, value: Tensor) -> Tensor:
        """Run the actions at a component; returns the value that the model goes on with."""
        for action in self._actions.get(component, ()):
            value = action(value, self._context)
        return value


class Hooks:
    """All actions that are attached to one model right now."""

    def __init__(self) -> None:
        self._attached: dict[int | None, dict[str, list[Action]]] = {}

    def at(self, layer: int | None, context: ForwardContext) -> LayerHooks | None:
        """The hooks of a block, or of the sites outside the blocks; None where nothing is attached."""
        actions = self._attached.get(layer)
        return LayerHooks(actions, context) if actions else None

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


class BySite(Mapping[Site, V]):
    """Values by site, of the latest forward pass; a key may be given in any text form, or as ("resid_post", 3)."""

    def __init__(self, values: Mapping[Site, V] | None = None) -> None:
        self._values: dict[Site, V] = {**(values or {})}

    def put(self, site: Site, value: V) -> None:
        """Keep the value of a site."""
        self._values[site] = value

    def __getitem__(self, site: Site | str | tuple[str, int]) -> V:
        site = Site.parse(f"{site[1]}.{site[0]}" if isinstance(site, tuple) else site)
        if site not in self._values:
            have = ", ".join(self._summary()) or "nothing: run the model within the block"
            raise SiteError(f"{site.short} was not captured. There is {have}.")
        return self._values[site]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, site: object) -> bool:
        return isinstance(site, (str, Site)) and Site.parse(site) in self._values

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{names}: {what}' for names, what in self._summary().items())}}}"

    def _summary(self) -> dict[str, str]:
        """Shapes of the tensors by site, equal ones of several layers together."""
        alike: dict[tuple[str, str], list[Site]] = {}
        for site, value in self._values.items():
            what = str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
            component = site if site.layer is None else replace(site, layer=0)
            alike.setdefault((component.short, what), []).append(site)
        return {_names(sites): what for (_, what), sites in alike.items()}


def _names(sites: Sequence[Site]) -> str:
    """Sites of one component, as "3.resid_post" or "0…7.resid_post"."""
    if len(sites) == 1:
        return sites[0].short
    numbers = sorted(site.layer or 0 for site in sites)
    together = numbers[-1] - numbers[0] + 1 == len(numbers)
    said = f"{numbers[0]}…{numbers[-1]}" if together else ",".join(map(str, numbers))
    return f"{said}.{sites[0].short.partition('.')[2]}"


Captured = BySite[Tensor]
"""Activations by site, of the latest forward pass."""


class _AllReachedError(Exception):
    """Ends a forward pass after the last site that was asked for; never leaves this module."""


class HookedModel(ABC):
    """Capture, edits and activations for any model that can attach actions to its sites."""

    @abstractmethod
    def sites(self) -> list[Site]:
        """All sites, in the order in which the model comes to them."""

    @abstractmethod
    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension there. Raises SiteError where it depends on the input."""

    @abstractmethod
    def _attach(self, site: Site, action: Action) -> contextlib.AbstractContextManager[None]:
        """Run an action at a site that is known to exist, while the block lasts."""

    @abstractmethod
    def run(self, tokens: Any, attention_mask: Any = None) -> object:
        """Run the model, for the sake of what is attached."""

    def find(self, site: Site | str) -> Site:
        """Return the site, if the model has it. Raises SiteError, with the nearest that it has, if not."""
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
    def attach(self, site: Site | str, action: Action) -> Iterator[None]:
        """Run an action at a site in every forward pass in the block; it is told the pass, with each position's role.

        Raises:
            SiteError: no such site, or no forward pass in the block came to it.
        """
        found, ran = self.find(site), False

        def counted(value: Tensor, context: ForwardContext) -> Tensor:
            nonlocal ran
            ran = True
            return action(value, context)

        with self._attach(found, counted):
            yield
        if not ran:
            raise SiteError(
                f"Nothing was done at {found}: no forward pass came to it before its block ended. Run the model, as "
                "far as there, within the block."
            )

    @contextlib.contextmanager
    def capture(self, *sites: Site | str, gradients: bool = False) -> Iterator[Captured]:
        """Keep the activations at these sites of every forward pass in the block.

        `gradients` makes each a node of the graph, also where no weight asks for gradients: what comes after it can be
        differentiated by it.
        """
        captured = Captured()
        with contextlib.ExitStack() as stack:
            for site in map(self.find, sites):
                stack.enter_context(self.attach(site, keep(captured, site, gradients)))
            yield captured

    @contextlib.contextmanager
    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replace the activation at a site by ``fn(activation)`` in every forward pass in the block.

        `fn` returns a tensor of the same shape; it must not write into its argument where gradients are wanted.
        """
        found = self.find(site)

        def action(value: Tensor, _: ForwardContext) -> Tensor:
            changed = fn(value)
            if not isinstance(changed, Tensor) or changed.shape != value.shape:
                got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
                raise SiteError(f"The edit of {found} must return a tensor of shape {tuple(value.shape)}, got {got}.")
            return changed.to(value.dtype)

        with self.attach(found, action):
            yield

    @torch.no_grad()
    def activations(
        self, inputs: Any, sites: Sequence[Site | str] | None = None, attention_mask: Any = None
    ) -> Captured:
        """Return the activations at the sites, without gradient, from a forward pass that stops after the last of them.

        Args:
            inputs: token ids, or whatever the model's input is; a model of text takes a text or several too.
            sites: None reads all but those that hold the stream once for every head.
        """
        tokens, mask = self._inputs(inputs, attention_mask)
        found = [self.find(site) for site in (self._ordinary_sites() if sites is None else sites)]
        captured = Captured()

        def stop(value: Tensor, _: ForwardContext) -> Tensor:
            if len(captured) == len(set(found)):
                raise _AllReachedError
            return value

        with contextlib.suppress(_AllReachedError), contextlib.ExitStack() as stack:
            for site in dict.fromkeys(found):
                stack.enter_context(self.attach(site, keep(captured, site)))
                stack.enter_context(self._attach(site, stop))
            self.run(tokens, mask)
        return Captured({site: captured[site] for site in found})

    def _ordinary_sites(self) -> list[Site]:
        """Sites that are read where none are named."""
        return [site for site in self.sites() if site.component not in _OF_EVERY_HEAD]

    def _inputs(self, given: Any, attention_mask: Any) -> tuple[Any, Any]:
        """Token ids that the model runs on, of ids or of what stands for them."""
        return given, attention_mask


_OF_EVERY_HEAD = ("attn_in", "q_input", "k_input", "v_input", "result")


def keep(captured: Captured, site: Site, gradients: bool = False) -> Action:
    """Return the action that keeps the value of a site; with `gradients`, as a node of the graph."""

    def action(value: Tensor, _: ForwardContext) -> Tensor:
        if gradients and not value.requires_grad and torch.is_grad_enabled():
            value = value.detach().requires_grad_()
        captured.put(site, value)
        return value

    return action
