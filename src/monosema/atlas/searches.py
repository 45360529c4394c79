"""The queries behind an atlas's searches. What people search for is a parameter, never a part of a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LISTED = (
    "latent, alive, density, n_active, mean, mean_active, max, label, label_author, label_method, label_scorer, "
    "label_score, label_low, label_high, label_control, label_random, label_margin"
)
"""Columns of a list of features."""

_OF_FEATURES = LISTED.replace("latent", "features.latent", 1)

BY_TOKEN = f"""
    with shares as (
        select latent, list_sum([if(pair[1] = asked.token or trim(pair[1]) = asked.token, pair[2], 0)
            for pair in list_zip(top_tokens, top_token_shares)]) as share
        from features cross join (select ?::varchar as token) as asked
    )
    select {_OF_FEATURES}, share
    from shares join features on features.latent = shares.latent
    where share > 0 order by share desc, features.latent limit ? offset ?
"""
"""Parameters: token, limit, offset."""

BY_EFFECT = f"""
    with pairs as (
        select latent, unnest(list_concat(list_zip(promoted, promoted_logits), list_zip(suppressed, suppressed_logits)))
            as pair
        from features
    ),
    found as (
        select latent, arg_max(pair[2], abs(pair[2])) as logit from pairs
        where pair[1] = ?::varchar or trim(pair[1]) = ?::varchar group by latent
    )
    select {_OF_FEATURES}, logit, logit * max as effect
    from found join features on features.latent = found.latent
    order by abs(effect) desc, features.latent limit ? offset ?
"""
"""Parameters: token, token, limit, offset."""


STANDING = """
    select scorer, method, count(*) as n, median(value) as median,
        avg(above_shuffled::integer) as above_shuffled, avg(above_random::integer) as above_random
    from scores group by scorer, method order by min(rank) nulls last, scorer, method
"""


def _joined(tokens: str) -> str:
    """Write tokens as one text; a query's own functions are faster than ours, which joins bytes to characters."""
    plain = f"array_to_string({tokens}, '')"
    return f"if(contains({plain}, '<0x'), shown_text({tokens}), {plain})"


def by_text(alive_only: bool) -> str:
    """A search for words. Parameters: words, their number, limit, offset.

    The relevance of a word is the sum of: 1 + 3 · its share where it is a top token; 2 where the label has it as a
    whole word, or 1 as a part of one, or as much where another explanation has it; ½ where it is a promoted token; and,
    of the strongest passages, 2 · the share with the word on active tokens and 0.3 · the share with it anywhere.
    """
    alive = "and features.alive" if alive_only else ""
    return f"""
        with words as (select unnest(?::varchar[]) as word, unnest(range(?)) as number),
        others as (select latent, lower(string_agg(text, ' ')) as text from explanations group by latent),
        passages as (
            select latent, lower({_joined("tokens")}) as said, lower({_joined("active")}) as active
            from (
                select latent, tokens,
                    [if(pair[2] > 0, pair[1], ' ') for pair in list_zip(tokens, activations)] as active
                from examples where kind = 'top'
            )
        ),
        heard as (
            select latent, number, avg(contains(active, word)::integer) as on_active,
                avg(contains(said, word)::integer) as anywhere
            from passages cross join words group by latent, number
        ),
        fits as (
            select features.latent, words.number, words.word, list_sum([if(lower(trim(pair[1])) = word, pair[2], 0)
                    for pair in list_zip(top_tokens, top_token_shares)]) as share,
                if(list_contains(regexp_split_to_array(lower(coalesce(label, '')), '[^\\pL\\pN]+'), word), 2,
                    if(contains(lower(coalesce(label, '')), word), 1, 0)) as in_label,
                if(list_contains(regexp_split_to_array(coalesce(text, ''), '[^\\pL\\pN]+'), word), 2,
                    if(contains(coalesce(text, ''), word), 1, 0)) as in_others,
                list_contains([lower(trim(token)) for token in promoted], word) as is_promoted,
                coalesce(on_active, 0) as on_active, coalesce(anywhere, 0) as anywhere
            from features cross join words left join others on others.latent = features.latent
            left join heard on heard.latent = features.latent and heard.number = words.number
            where true {alive}
        ),
        relevances as (
            select *, if(share > 0, 1 + 3 * share, 0) + greatest(in_label, in_others) + if(is_promoted, 0.5, 0)
                + 2 * on_active + 0.3 * anywhere as relevance from fits
        ),
        found as (
            select latent, sum(relevance) as relevance, list(relevances order by number) as fits
            from relevances group by latent having min(relevance) > 0
        )
        select {_OF_FEATURES}, relevance, fits
        from found join features on features.latent = found.latent
        order by relevance desc, label_margin desc nulls last, features.latent limit ? offset ?
    """


def reason(fits: Sequence[Mapping[str, Any]]) -> str:
    """Say why a feature is found, from what `by_text` knows of each word."""
    names = [f"“{one['word']}”: " if len(fits) > 1 else "" for one in fits]
    return "; ".join(name + ", ".join(_reasons(one)) for name, one in zip(names, fits, strict=True))


def _reasons(one: Mapping[str, Any]) -> Iterator[str]:
    if one["share"]:
        yield f"top token ({one['share']:.0%})"
    if one["in_label"]:
        yield "in its label"
    elif one["in_others"]:
        yield "in another explanation"
    if one["is_promoted"]:
        yield "promotes it"
    if one["on_active"]:
        yield f"active on it in {one['on_active']:.0%} of its top passages"
    elif one["anywhere"]:
        yield f"beside it in {one['anywhere']:.0%} of its top passages"
