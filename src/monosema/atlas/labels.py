"""The label among a feature's explanations: worked out from explanations, scores and votes, stored nowhere.

A person's label comes first; of several, the one with the most votes for it less those against it, then the newest.
Without one it is the explanation with the best score. Scores of different scorers are not on one scale, so all features
are compared by one: of the scorers that have scored at least half as many explanations in the whole atlas as the scorer
that has scored the most, the one of the lowest rank. An explanation that it has not scored comes after those that it
has; of such ones the first recorded. A feature without any explanation is called by its top tokens.
"""

from __future__ import annotations

from monosema.atlas.feature import PERSON

LABEL_COLUMNS = (
    "label",
    "label_author",
    "label_method",
    "label_scorer",
    "label_score",
    "label_low",
    "label_high",
    "label_control",
    "label_random",
    "label_margin",
    "label_n",
    "label_interval",
)
"""Columns that the view `features` adds to the table."""

_SAME = " and ".join(f"one.{name} is not distinct from other.{name}" for name in ("author", "method", "model"))
_SAME = f"one.latent = other.latent and {_SAME} and one.prompt_version is not distinct from other.prompt_version"

LABELS = f"""
    with counted as (select scorer, count(*) as n, min(rank) as rank from scores group by scorer),
    compared as (
        select scorer from counted where 2 * n >= (select max(n) from counted)
        order by rank nulls last, scorer limit 1
    ),
    votes_of as (
        select latent, author, method, model, prompt_version, text, sum(vote) as votes
        from votes group by latent, author, method, model, prompt_version, text
    ),
    ranked as (
        select one.latent, one.text as label, one.author as label_author, one.method as label_method,
            other.scorer as label_scorer, other.value as label_score, other.low as label_low,
            other.high as label_high, other.control as label_control, other.random as label_random,
            other.margin as label_margin, other.n as label_n,
            other.interval as label_interval,
            row_number() over (
                partition by one.latent
                order by one.method <> '{PERSON}', if(one.method = '{PERSON}', coalesce(votes, 0), 0) desc,
                    if(one.method = '{PERSON}', one.place, 0) desc, other.value desc nulls last, one.place
            ) as rank
        from placed as one
        left join scores as other on {_SAME} and other.scorer = (select scorer from compared)
        left join votes_of on {_SAME.replace("other.", "votes_of.")} and votes_of.text = one.text
    )
    select * exclude (rank) from ranked where rank = 1
"""
"""One row for each latent that has an explanation. `placed` is the table of explanations with its rows numbered."""

_FIRST, _OTHERS = "format('{} ({:.0f} %)', quoted(token), 100 * top_token_shares[i])", "quoted(token)"
TOP_TOKENS = f"""
    list_aggregate([
        if(i = 1, {_FIRST}, {_OTHERS}) for token, i in top_tokens[1:5] if i = 1 or top_token_shares[i] >= 0.05
    ], 'string_agg', ', ')
"""
"""Label of a feature without an explanation: ``“cat” (61 %), “dog”``, as token lookup writes it."""
_FALLBACKS = {"label": TOP_TOKENS, "label_author": "'monosema'", "label_method": "'top tokens'"}
_COLUMNS = ", ".join(
    f"if(labels.label is null and len(top_tokens) > 0, {_FALLBACKS.get(name, 'null')}, labels.{name}) as {name}"
    for name in LABEL_COLUMNS
)

SCORES = """
    select *, low - greatest(chance, control, random) as margin,
        if(control is null, null, low > greatest(chance, control)) as above_shuffled,
        if(random is null, null, low > greatest(chance, random)) as above_random
    from stored_scores
"""
"""Scores with what stands above their controls: the margin is the height of the interval's low end above the highest
of them, and controls that are not known count for nothing."""

VIEWS = (
    "create view explanations as select * exclude (place) from placed",
    f"create view scores as {SCORES}",
    f"create table labels as {LABELS}",
    f"""
        create view features as
        select figures.*, {_COLUMNS} from figures left join labels on labels.latent = figures.latent
    """,
)
"""Made when an atlas is opened, in this order. `figures` is the table of features as it is stored; labels are worked
out once, because every list and every feature asks for them."""
