"""The phases of training: what the rows of each hold, and when it ends.

Training goes in phases, since a model of this size trained on mixed text alone learns neither to repeat nor to
find the indirect object (10M tokens at chance); short contexts, many small steps and repeats drawn by natural token
frequencies make induction appear within 3M tokens, and it stays when the text comes in. Facts are alike: a twentieth of
the rows each over 10M tokens left calendar sums and truth at chance; a third of short rows teaches them in 2M.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monosema.core.errors import ConfigError
from specimen.text import Mix


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one mix of rows.

    Attributes:
        name: its name in the metrics.
        shapes: (rows, context) of the steps, taken in turn.
        mix: what the rows hold.
        steps: least and greatest number of steps; (0, 0) for the last, which ends with the tokens.
        until: (measure, bound, direction) that all end the phase after its least steps; without any only steps do.
        measure_every: steps between measurements.
        tasks: tasks that are measured meanwhile; None: all.
    """

    name: str
    shapes: tuple[tuple[int, int], ...]
    mix: Mix
    steps: tuple[int, int]
    until: tuple[tuple[str, float, str], ...]
    measure_every: int
    tasks: tuple[str, ...] | None = None

    def done(self, step_in_phase: int, measured: dict[str, float]) -> bool:
        """Whether the phase may end here, given the latest measurements."""
        least, most = self.steps
        if not self.until:
            return 0 < most <= step_in_phase
        if step_in_phase < least:
            return False
        reached = all(
            name in measured and (measured[name] < bound if direction == "below" else measured[name] > bound)
            for name, bound, direction in self.until
        )
        return reached or step_in_phase >= most

    def record(self) -> dict[str, Any]:
        """What the model card says of the phase."""
        return {
            "shapes": [list(shape) for shape in dict.fromkeys(self.shapes)],
            "repeats": self.mix.repeats,
            "skills": dict(self.mix.skills),
        }


FACTS = {"weekdays": 0.32, "truth": 0.45, "ioi": 0.1}
STANDING_SKILLS = {
    "ioi": 0.09,
    "greater_than": 0.02,
    "gender": 0.03,
    "truth": 0.15,
    "sentiment": 0.02,
    "weekdays": 0.04,
    "brackets": 0.03,
}
PHASES = (
    Phase(
        name="induction",
        shapes=((32, 64),),
        mix=Mix(repeats=0.8, uniform=0.0, periods=(5, 24), skills={"ioi": 0.2}),
        steps=(900, 4000),
        until=(("repeats_natural_second", 3.0, "below"),),
        measure_every=50,
        tasks=("ioi",),
    ),
    Phase(
        name="skills",
        shapes=((32, 64),),
        mix=Mix(repeats=0.2, uniform=0.2, periods=(5, 24), skills={"ioi": 0.2}),
        steps=(600, 4000),
        until=(("ioi_accuracy", 0.95, "above"),),
        measure_every=100,
        tasks=("ioi",),
    ),
    Phase(
        name="facts",
        shapes=((32, 64),),
        mix=Mix(repeats=0.1, uniform=0.2, periods=(5, 24), skills=FACTS),
        steps=(600, 4000),
        until=(("weekdays_accuracy", 0.95, "above"), ("truth_accuracy", 0.95, "above")),
        measure_every=200,
        tasks=("ioi", "weekdays", "truth"),
    ),
    Phase(
        name="text and skills",
        shapes=((16, 256),) * 7 + ((8, 512),),
        mix=Mix(repeats=0.04, uniform=0.3, periods=(5, 128), skills=STANDING_SKILLS),
        steps=(0, 0),
        until=(),
        measure_every=250,
    ),
)


def phases_named(names: Sequence[str] | None) -> tuple[Phase, ...]:
    """Return the phases of these names, in the recipe's order; all of them for None.

    Raises:
        ConfigError: a name that is none of theirs.
    """
    known = [phase.name for phase in PHASES]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigError(f"There is no phase {', '.join(unknown)}; there are: {', '.join(known)}.")
    return tuple(phase for phase in PHASES if names is None or phase.name in names)
