"""Findings of a comparison, in sentences made of its numbers, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from monosema.core import Estimate
from monosema.steering.metrics.paired import Sums, by_unit, ratio_difference

if TYPE_CHECKING:
    from monosema.steering.comparison import Comparison, Entry

_COLUMNS = (
    ("gain of effect", "effect_gain"),
    ("effect", "effect"),
    ("KL of its text", "kl"),
    ("perplexity ×", "perplexity_ratio"),
    ("distinct 2-grams", "distinct_2"),
    ("distinct 3-grams", "distinct_3"),
    ("zlib", "zlib"),
    ("skills lost", "skills_lost"),
)
_SHARE_OF_BEST = 0.8


def sentences(comparison: Comparison) -> list[str]:
    """Say what a comparison found: the best latent beside each baseline, what the choice matters, and the price."""
    best = comparison.best("latent")
    if best is None:
        return ["No latent could be chosen or made strong enough, so there is nothing to compare."]
    return [_best(best), *_beside(comparison, best), *_choice(comparison, best), *_price(comparison, best)]


def difference(one: Entry, other: Entry) -> Estimate | None:
    """Estimate by how much the effect of one line is above that of another, over the same prompts."""
    return ratio_difference(_effects(one), _effects(other))


def _effects(entry: Entry) -> Sums:
    samples = entry.point.samples
    return by_unit([(sample.effect or 0.0, 1.0) for sample in samples], [sample.prompt for sample in samples])


def _best(best: Entry) -> str:
    gain = _signed(best.point.figures["effect_gain"])
    return (
        f"At {best.kl:g} nats a token the best choice of a latent, by {best.method} ({best.about}), changes the effect "
        f"by {gain}."
    )


def _beside(comparison: Comparison, best: Entry) -> list[str]:
    """One sentence for each way it may stand beside the baselines."""
    groups: dict[str, list[str]] = {"more": [], "less": [], "alike": []}
    for entry in comparison.entries:
        if entry.kind == "latent" or entry.kl not in (None, best.kl):
            continue
        found = difference(best, entry)
        if found is not None:
            how = "more" if found.low > 0 else "less" if found.high < 0 else "alike"
            method = entry.method if entry.kl is not None else f"{entry.method} at its own KL"
            groups[how].append(f"{method} ({_signed(entry.point.figures['effect_gain'])})")
    said = []
    if groups["less"]:
        said.append(f"The latent loses to {_list(groups['less'])}.")
    if groups["more"]:
        said.append(f"The latent does more than {_list(groups['more'])}.")
    if groups["alike"]:
        said.append(f"{comparison.prompts} prompts can't tell it from {_list(groups['alike'])}.")
    return said


def _choice(comparison: Comparison, best: Entry) -> list[str]:
    plain = comparison.at("input", best.kl)
    if plain is None or plain.method == best.method:
        return []
    gain, other = (entry.point.figures["effect_gain"] for entry in (best, plain))
    if other.low <= 0:
        # A ratio to what may be nothing says nothing.
        return (
            ["The latent with the best input score has no effect that can be told from none."] if gain.low > 0 else []
        )
    return [f"It gains {gain.value / other.value:.1f} times what the latent with the best input score gains."]


def _price(comparison: Comparison, best: Entry) -> list[str]:
    """The least divergence at which the same choice has most of the effect, and what the other skills lose there."""
    own = [entry for entry in comparison.entries if entry.method == best.method and entry.kl is not None]
    most = _SHARE_OF_BEST * best.point.figures["effect_gain"].value
    enough = [entry for entry in own if entry.point.figures["effect_gain"].value >= most]
    cheapest = min(enough, key=lambda entry: entry.kl or 0.0)
    lost = cheapest.point.figures.get("skills_lost")
    if lost is None:
        return []
    return [
        f"At {cheapest.kl:g} nats a token, where it has {_SHARE_OF_BEST:.0%} of that or more, "
        f"{_points(lost)} points of accuracy are lost on the other skills."
    ]


def markdown(comparison: Comparison) -> str:
    """Return the comparison as a Markdown table, with the sentences above it."""
    head = ["method", "nats a token", *(title for title, _ in _COLUMNS)]
    rows = [["unsteered", "", *_cells(comparison.base.figures)]]
    for entry in comparison.entries:
        name = f"{entry.method} ({entry.about})" if entry.about else entry.method
        rows.append([name, "its own" if entry.kl is None else f"{entry.kl:g}", *_cells(entry.point.figures)])
    lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*(f"{sentence}" for sentence in sentences(comparison)), "", *(f"| {line} |" for line in lines)])


def _cells(figures: object) -> list[str]:
    assert isinstance(figures, dict)
    return [str(figures[key]) if key in figures else "–" for _, key in _COLUMNS]


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
