"""What each choice of a latent gives for a concept, beside prompt, directions and chance at equal divergence.

    python benchmarks/steering_choices.py RUN --concepts sentiment name --kl 0.25 0.5 1 --out FILE.md
    python benchmarks/steering_choices.py RUN --chat --concepts sentiment --kl 0.5 --skill-prompts 20
    python benchmarks/steering_choices.py RUN --sweep          16 strengths × 4 seeds in one batch and one by one

Prints Markdown: the sentences, the table, and of each method the first texts. `--out` adds them to a file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from monosema.models import LanguageModel
from monosema.runs.subject import Subject, open_subject
from monosema.steering import (
    Add,
    ComparisonConfig,
    Edit,
    Evidence,
    Steering,
    SweepConfig,
    at_strengths,
    choose,
    compare_choices,
    concept_named,
    steered,
    sweep,
)

STRENGTHS = [float(number) for number in range(16)]
SEEDS = (0, 1, 2, 3)


def comparison_of(subject: Subject, name: str, given: argparse.Namespace) -> str:
    """Compare the choices for one concept."""
    assert subject.dictionary is not None
    skills = given.skill_prompts
    texts = SweepConfig(seeds=tuple(range(given.seeds)), skill_prompts=skills, max_new_tokens=given.tokens)
    config = ComparisonConfig(kl=tuple(given.kl), chat=given.chat, sweep=texts)
    found = compare_choices(subject.model, subject.dictionary, concept_named(name), config, at=subject.site)
    lines = [
        f"### {name}, {subject.model.name}{', chat' if given.chat else ''}\n",
        f"{found.prompts} beginnings × {given.seeds} seeds; the measure of effect is right for {found.accuracy} of "
        f"labelled texts that it has not seen; {found.seconds:.0f} s.\n",
        found.markdown(),
        *(f"\nAbsent: {key}: {reason}." for key, reason in found.absent.items()),
        "\nThe first texts:\n",
    ]
    first = [found.base, *(entry.point for entry in found.entries)]
    return "\n".join([*lines, *(f"- {point.name}: `{_line(point.samples[0].text)}`" for point in first)])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")[:140]


def sweep_speed(subject: Subject, given: argparse.Namespace) -> str:
    """Time a sweep of 16 strengths × 4 seeds in one batch, and the same texts one by one."""
    model, concept = subject.model, concept_named("sentiment")
    assert subject.dictionary is not None
    evidence = Evidence(model, subject.dictionary, concept, subject.site)
    (chosen,) = choose(model, subject.dictionary, concept, "input", evidence=evidence)
    steering = Steering(Edit(evidence.latent(chosen.latent), Add(1.0)))
    prompt, config = concept.prompts[0], SweepConfig(seeds=SEEDS, max_new_tokens=given.tokens)
    ratios = []
    for _ in range(3):
        began = time.monotonic()
        found = sweep(model, [prompt], at_strengths(steering, STRENGTHS), config, concept.effect)
        together = time.monotonic() - began
        alone, equal = _one_by_one(model, prompt, steering, found["1"].samples[0].text, given.tokens)
        ratios.append((together, alone))
        assert equal, "a text of the sweep is not the text of a single call"
    together, alone = min(ratios)[0], min(pair[1] for pair in ratios)
    return (
        f"### A sweep of {len(STRENGTHS)} strengths × {len(SEEDS)} seeds, {model.name}\n\n"
        f"In one batch, unsteered texts and all measures included: {together:.2f} s; one by one, written only: "
        f"{alone:.2f} s; ratio {together / alone:.2f} (best of three rounds of each)."
    )


def _one_by_one(model: LanguageModel, prompt: str, steering: Steering, text: str, tokens: int) -> tuple[float, bool]:
    began, equal = time.monotonic(), False
    for strength in STRENGTHS:
        for seed in SEEDS:
            with steered(model, steering.at(strength)):
                written = model.generate(prompt, max_new_tokens=tokens, temperature=1.0, seed=seed)
            equal = equal or (strength == 1 and seed == 0 and written.text == text)
    return time.monotonic() - began, equal


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--concepts", nargs="*", default=[])
    parser.add_argument("--kl", nargs="+", type=float, default=[0.25, 0.5, 1.0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--skill-prompts", type=int, default=50)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    subject = open_subject(given.run)
    parts = [comparison_of(subject, name, given) for name in given.concepts]
    parts += [sweep_speed(subject, given)] if given.sweep else []
    for part in parts:
        print(part + "\n", flush=True)
        if given.out:
            with given.out.open("a") as file:
                file.write(part + "\n\n")


if __name__ == "__main__":
    main()
