"""Steering: edits along a model's coordinates that hold while it reads and writes text."""

from __future__ import annotations

from monosema.steering.baselines import BASELINES, Baseline, probe_direction, register_baseline
from monosema.steering.candidates import Candidate, Prefix, at_strengths
from monosema.steering.choice import CHOICES, ChoiceRule, Chosen, Evidence, choose, register_choice
from monosema.steering.choice_by_effect import BY_EFFECT
from monosema.steering.comparison import Comparison, ComparisonConfig, compare_choices, comparison_steps
from monosema.steering.concepts import CONCEPTS, Concept, concept_named
from monosema.steering.coordinates import Coordinate, Direction, Head, Latent
from monosema.steering.directions import mean_activations, mean_difference, random_direction
from monosema.steering.edits import Edit, Steering, Unit
from monosema.steering.files import read_directions, read_steering, register_steering_format, write_steering
from monosema.steering.metrics.bag_of_words import BagOfWords
from monosema.steering.metrics.effect import Effect, Lexicon
from monosema.steering.metrics.measures import MEASURES, Measure, MeasuredText, register_measure
from monosema.steering.metrics.skills import Skills
from monosema.steering.moves import Add, Clamp, Move, Scale
from monosema.steering.resolver import Resolver
from monosema.steering.short import named, read_edit, spec_of_text, text_of
from monosema.steering.spec import Resolve
from monosema.steering.steered import SteeredBatch, SteeredRow, steered
from monosema.steering.strength import for_divergence
from monosema.steering.sweep import Sample, SweepConfig, SweepPoint, SweepResult, SweepStep, sweep, sweep_steps
from monosema.steering.unsteered import UnsteeredTexts
from monosema.steering.where import Where

__all__ = [
    "BASELINES",
    "BY_EFFECT",
    "CHOICES",
    "CONCEPTS",
    "MEASURES",
    "Add",
    "BagOfWords",
    "Baseline",
    "Candidate",
    "ChoiceRule",
    "Chosen",
    "Clamp",
    "Comparison",
    "ComparisonConfig",
    "Concept",
    "Coordinate",
    "Direction",
    "Edit",
    "Effect",
    "Evidence",
    "Head",
    "Latent",
    "Lexicon",
    "Measure",
    "MeasuredText",
    "Move",
    "Prefix",
    "Resolve",
    "Resolver",
    "Sample",
    "Scale",
    "Skills",
    "SteeredBatch",
    "SteeredRow",
    "Steering",
    "SweepConfig",
    "SweepPoint",
    "SweepResult",
    "SweepStep",
    "Unit",
    "UnsteeredTexts",
    "Where",
    "at_strengths",
    "choose",
    "compare_choices",
    "comparison_steps",
    "concept_named",
    "for_divergence",
    "mean_activations",
    "mean_difference",
    "named",
    "probe_direction",
    "random_direction",
    "read_directions",
    "read_edit",
    "read_steering",
    "register_baseline",
    "register_choice",
    "register_measure",
    "register_steering_format",
    "spec_of_text",
    "steered",
    "sweep",
    "sweep_steps",
    "text_of",
    "write_steering",
]
