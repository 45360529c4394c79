"""Methods that score all edges of a graph: one signature, one file each, an open list."""

from __future__ import annotations

from monosema.circuits.methods.acdc import Acdc
from monosema.circuits.methods.atp_star import AtpStar
from monosema.circuits.methods.attribution import Attribution
from monosema.circuits.methods.chance import Chance
from monosema.circuits.methods.exact import EXACT, Exact, exact_edges, exact_nodes
from monosema.circuits.methods.method import METHODS, Method, Problem, method_named, register_method
from monosema.circuits.methods.relevance import Relevance

__all__ = [
    "EXACT",
    "METHODS",
    "Acdc",
    "AtpStar",
    "Attribution",
    "Chance",
    "Exact",
    "Method",
    "Problem",
    "Relevance",
    "exact_edges",
    "exact_nodes",
    "method_named",
    "register_method",
]
