"""The computation graph of a decoder: what adds to the residual stream, what reads it, and the edges between them.

Writers are the embedding (with position vectors), every attention head's result, and every MLP. Readers are every
head's query, key and value input, every MLP's input, and the logits. The residual stream is a sum, so every reader
sees each writer before it by an edge of its own (Elhage et al. 2021). Nodes and edges are named as in ACDC and EAP-IG:
`a3.h5`, `m2`, `a0.h1->a3.h5<q>`, `embed->logits`. Where heads share keys and values, those inputs are counted by the
shared ones. An edge stands for all positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.core import InputError, nearest
from monosema.models import LanguageModel, require_decoder
from monosema.models.config import TransformerConfig


class Kind(StrEnum):
    """The kind of a node."""

    EMBED = "embed"
    HEAD = "head"
    MLP = "mlp"
    LOGITS = "logits"


@dataclass(frozen=True, order=True)
class Node:
    """A component of the model.

    Attributes:
        layer: its block; −1 for the embedding, the number of blocks for the logits.
        kind: what it is.
        head: index of the head; 0 for others.
    """

    layer: int
    kind: Kind
    head: int = 0

    @property
    def name(self) -> str:
        """The name of the field: `embed`, `a3.h5`, `m3`, `logits`."""
        if self.kind is Kind.HEAD:
            return f"a{self.layer}.h{self.head}"
        return f"m{self.layer}" if self.kind is Kind.MLP else str(self.kind)


@dataclass(frozen=True, order=True)
class Reader:
    """An input of a component.

    Attributes:
        node: the component; the head of a key or a value counts the shared ones.
        port: "q", "k" or "v" of a head, "" elsewhere.
    """

    node: Node
    port: str = ""

    @property
    def name(self) -> str:
        """The name of the field: `a3.h5<q>`, `m3`, `logits`."""
        return f"{self.node.name}<{self.port}>" if self.port else self.node.name


@dataclass(frozen=True, eq=False)
class Graph:
    """Structure alone, in the order of computation.

    Attributes:
        writers: nodes that add to the residual stream.
        readers: inputs that read it.
        allowed: true where the writer comes before the reader, so that there is an edge.
    """

    writers: tuple[Node, ...]
    readers: tuple[Reader, ...]
    allowed: Bool[Tensor, "w r"]

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return int(self.allowed.sum())

    @cached_property
    def writer_index(self) -> dict[Node, int]:
        """Row of each writer."""
        return {node: index for index, node in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[Reader, int]:
        """Column of each reader."""
        return {reader: index for index, reader in enumerate(self.readers)}

    @cached_property
    def edge_index(self) -> dict[str, tuple[int, int]]:
        """Row and column of each edge by its name."""
        return {self.edge_name(w, r): (w, r) for w, r in self.allowed.nonzero().tolist()}

    def writers_before(self, layer: int, kind: Kind) -> int:
        """Return the number of writers that a reader of this kind in a layer sees; they are the first ones."""
        columns = [index for reader, index in self.reader_index.items() if reader.node.layer == layer]
        column = next(index for index in columns if self.readers[index].node.kind is kind)
        return int(self.allowed[:, column].sum())

    def inputs_of(self, node: Node) -> list[int]:
        """Return the columns of the inputs of a writer; the embedding has none, and heads share keys and values."""
        here = [(column, reader) for column, reader in enumerate(self.readers) if reader.node.layer == node.layer]
        if node.kind is not Kind.HEAD:
            return [column for column, reader in here if reader.node == node]
        found = list[int]()
        queries = sum(reader.port == "q" for _, reader in here)
        for port in "qkv":
            columns = [column for column, reader in here if reader.port == port]
            found.append(columns[node.head * len(columns) // queries])
        return found

    def nodes(self, names: Sequence[str]) -> list[Node]:
        """Return writers by their names. Raises InputError for one that there is not."""
        known = {node.name: node for node in self.writers}
        for name in names:
            if name not in known:
                raise InputError(f"There is no node {name!r} in this graph.{nearest(name, known)}")
        return [known[name] for name in names]

    def edge_name(self, writer: int, reader: int) -> str:
        """Return the name of an edge: `a0.h1->a3.h5<q>`."""
        return f"{self.writers[writer].name}->{self.readers[reader].name}"

    def edge(self, name: str) -> tuple[int, int]:
        """Return row and column of an edge by its name. Raises InputError where there is none."""
        if name not in self.edge_index:
            raise InputError(f"There is no edge {name!r} in this graph.{nearest(name, self.edge_index)}")
        return self.edge_index[name]


def component_graph(model: LanguageModel) -> Graph:
    """Return the graph of a decoder's components; raises UnsupportedModelError for a model of another library."""
    config = require_decoder(model).config
    writers, readers = [Node(-1, Kind.EMBED)], list[Reader]()
    for layer in range(config.n_layers):
        writers += [*_heads(layer, config.n_heads), Node(layer, Kind.MLP)]
        readers += [
            *(Reader(node, "q") for node in _heads(layer, config.n_heads)),
            *(Reader(node, port) for port in "kv" for node in _heads(layer, config.n_kv_heads)),
            Reader(Node(layer, Kind.MLP)),
        ]
    readers.append(Reader(Node(config.n_layers, Kind.LOGITS)))
    allowed = torch.tensor([[_sees(reader.node, writer, config) for reader in readers] for writer in writers])
    return Graph(tuple(writers), tuple(readers), allowed)


def _heads(layer: int, n: int) -> list[Node]:
    return [Node(layer, Kind.HEAD, head) for head in range(n)]


def _sees(reader: Node, writer: Node, config: TransformerConfig) -> bool:
    if writer.layer != reader.layer:
        return writer.layer < reader.layer
    return writer.kind is Kind.HEAD and reader.kind is Kind.MLP and not config.parallel
