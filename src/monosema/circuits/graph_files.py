"""Attribution graphs as files: circuit-tracer's JSON, DOT, and the form that pages show.

The JSON has circuit-tracer's fields and ids of 2026-07, in which no two nodes are alike: a latent is
``layer_latent_position``, an error ``layer_-1_position``, a token ``E_token_position``, a logit
``layers+1_token_position``. Labels of latents go into ``clerp``. Neuronpedia's viewer reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosema.circuits.attribution_graph import PromptGraph
from monosema.circuits.influence import Pruned, influence_of
from monosema.circuits.shown import ShownEdge, ShownGraph, ShownNode

Labels = Mapping[tuple[int, int], str]
"""Labels of latents, by layer and number."""


def to_circuit_tracer(
    graph: PromptGraph, pruned: Pruned, labels: Labels | None = None, *, slug: str = "graph", nodes: float = 0.8
) -> dict[str, Any]:
    """Return a pruned graph as circuit-tracer's JSON.

    Args:
        labels: put into ``clerp``.
        slug: the name that the viewer gives it.
        nodes: the share of influence that it was pruned to.
    """
    kept = pruned.sources.nonzero()[:, 0].tolist()
    ids = {source: _id(graph, source) for source in kept}
    links = [
        {"source": ids[source], "target": ids.get(target) or _logit_id(graph, target), "weight": weight}
        for target, source, weight in _edges(graph, pruned)
    ]
    return {
        "metadata": {
            "slug": slug,
            "scan": graph.model,
            "transcoder_list": [],
            "prompt_tokens": [*graph.texts],
            "prompt": "".join(graph.texts),
            "node_threshold": nodes,
            "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [
            *(_node(graph, pruned, source, labels or {}) for source in kept),
            *(_logit(graph, number) for number in range(len(graph.logits))),
        ],
        "links": links,
    }


def to_dot(graph: PromptGraph, pruned: Pruned, labels: Labels | None = None) -> str:
    """Return a pruned graph for Graphviz, tokens below and logits above; edges that hold back are dashed."""
    labels, edges = labels or {}, _edges(graph, pruned)
    most = max((abs(weight) for *_, weight in edges), default=0.0) or 1.0
    lines = ["digraph attribution {", "  rankdir=BT;"]
    for source in pruned.sources.nonzero()[:, 0].tolist():
        kind, layer, position, latent = graph.place(source)
        said = f"{layer}/{latent}" if kind == "latent" else kind if kind == "error" else graph.texts[position]
        said += f" @{position}" + (
            f"\n{labels[layer, latent]}" if latent is not None and (layer, latent) in labels else ""
        )
        shape = {"latent": "ellipse", "error": "diamond", "token": "box"}[kind]
        lines.append(f"  {_quoted(_id(graph, source))} [shape={shape}, label={_quoted(said)}];")
    for number, text in enumerate(graph.logit_texts):
        said = f"{text} ({float(graph.probabilities[number]):.2f})"
        lines.append(f"  {_quoted(_logit_id(graph, graph.n_latents + number))} [shape=box, label={_quoted(said)}];")
    for target, source, weight in edges:
        end = _id(graph, target) if target < graph.n_latents else _logit_id(graph, target)
        style = f"penwidth={0.5 + 4 * abs(weight) / most:.2f}" + (", style=dashed" if weight < 0 else "")
        lines.append(f"  {_quoted(_id(graph, source))} -> {_quoted(end)} [{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def show_graph(
    graph: PromptGraph,
    pruned: Pruned,
    *,
    title: str,
    labels: Labels | None = None,
    runs: Mapping[int | None, str] | None = None,
    about: Mapping[str, str | int | float | bool] | None = None,
    notes: tuple[str, ...] = (),
) -> ShownGraph:
    """Return a pruned graph to look at: latents, errors and tokens by influence, then logits.

    Args:
        labels: what latents mean.
        runs: names of the runs whose features latents are, by layer; "" where there is none.
        about: further facts, such as where the transcoders are, by which the page tests latents.
        notes: sentences for the reader.
    """
    influence, labels = influence_of(graph.weights, graph.probabilities), labels or {}
    kept = sorted(pruned.sources.nonzero()[:, 0].tolist(), key=lambda source: -float(influence[source]))
    place = {source: number for number, source in enumerate(kept)}
    nodes = list[ShownNode]()
    for source in kept:
        kind, layer, position, latent = graph.place(source)
        label = graph.texts[position] if kind == "token" else labels.get((layer, -1 if latent is None else latent), "")
        effect = float(graph.total_effects[0, source]) if latent is not None else None
        name = _id(graph, source)
        nodes.append(
            ShownNode(
                name=name,
                kind=kind,
                layer=layer,
                column=position,
                label=label,
                latent=latent,
                run=(runs or {}).get(layer),
                predicted=effect,
            )
        )
    last = len(graph.tokens) - 1
    for number, text in enumerate(graph.logit_texts):
        name, said = _logit_id(graph, graph.n_latents + number), f"{text} ({float(graph.probabilities[number]):.2f})"
        nodes.append(ShownNode(name=name, kind="logits", layer=graph.n_layers, column=last, label=said))
    edges = [
        ShownEdge(
            source=place[source],
            target=place[target] if target < graph.n_latents else len(kept) + target - graph.n_latents,
            weight=weight,
        )
        for target, source, weight in sorted(_edges(graph, pruned), key=lambda edge: -abs(edge[2]))
    ]
    return ShownGraph(
        title=title,
        unit="nodes",
        n_layers=graph.n_layers,
        nodes=tuple(nodes),
        edges=tuple(edges),
        total=graph.weights.shape[1],
        tokens=graph.texts,
        about={"method": "attribution graph", "model": graph.model, **(about or {})},
        notes=notes,
    )


def _edges(graph: PromptGraph, pruned: Pruned) -> list[tuple[int, int, float]]:
    return [
        (target, source, float(graph.weights[target, source])) for target, source in pruned.edges.nonzero().tolist()
    ]


def _id(graph: PromptGraph, source: int) -> str:
    kind, layer, position, latent = graph.place(source)
    if kind == "token":
        return f"E_{int(graph.tokens[position])}_{position}"
    return f"{layer}_{-1 if latent is None else latent}_{position}"


def _logit_id(graph: PromptGraph, target: int) -> str:
    return f"{graph.n_layers + 1}_{int(graph.logits[target - graph.n_latents])}_{len(graph.tokens) - 1}"


def _node(graph: PromptGraph, pruned: Pruned, source: int, labels: Labels) -> dict[str, Any]:
    kind, layer, position, latent = graph.place(source)
    shared = {"node_id": _id(graph, source), "ctx_idx": position, **_NEUTRAL}
    shared["influence"] = float(pruned.cumulative[source])
    if kind == "token":
        token = int(graph.tokens[position])
        kinds = {"feature": position, "layer": "E", "feature_type": "embedding", "jsNodeId": f"E_{token}-{position}"}
        return {**shared, **kinds, "clerp": "", "activation": None}
    if latent is None:
        name = f"{layer}_-1-{position}"
        kinds = {"feature": -1, "layer": str(layer), "feature_type": "mlp reconstruction error", "jsNodeId": name}
        return {**shared, **kinds, "clerp": "", "activation": None}
    paired = (layer + latent) * (layer + latent + 1) // 2 + latent  # Cantor's pairing of layer and latent.
    kinds = {"feature": paired, "layer": str(layer), "feature_type": "cross layer transcoder"}
    about = {"jsNodeId": f"{layer}_{latent}-0", "clerp": labels.get((layer, latent), "")}
    return {**shared, **kinds, **about, "activation": float(graph.activations[source])}


def _logit(graph: PromptGraph, number: int) -> dict[str, Any]:
    token, probability, last = int(graph.logits[number]), float(graph.probabilities[number]), len(graph.tokens) - 1
    return {
        "node_id": _logit_id(graph, graph.n_latents + number),
        "ctx_idx": last,
        **_NEUTRAL,
        "feature": token,
        "layer": str(graph.n_layers + 1),
        "feature_type": "logit",
        "token_prob": probability,
        "is_target_logit": number == 0,
        "jsNodeId": f"L_{token}-{last}",
        "clerp": f'Output "{graph.logit_texts[number]}" (p={probability:.3f})',
        "influence": None,
        "activation": None,
    }


_NEUTRAL = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
