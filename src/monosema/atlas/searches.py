"""The queries behind an atlas's searches. What people search for is a parameter, never a part of a query."""

from __future__ import annotations

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


def by_text(alive_only: bool) -> str:
    """A search for words. Parameters: words, their number, limit, offset."""
    alive = "and features.alive" if alive_only else ""
    return f"""
        with words as (select unnest(?::varchar[]) as word, unnest(range(?)) as number),
        texts as (select latent, lower(string_agg(text, ' ')) as text from explanations group by latent),
        relevances as (
            select features.latent, word, number,
                2 * coalesce(list_sum([if(lower(trim(pair[1])) = word, pair[2], 0)
                    for pair in list_zip(top_tokens, top_token_shares)]), 0)
                + if(contains(lower(coalesce(label, '')), word), 1, 0)
                + if(contains(coalesce(text, ''), word), 0.5, 0)
                + if(list_contains([lower(trim(token)) for token in promoted], word), 0.25, 0) as relevance
            from features cross join words left join texts on texts.latent = features.latent
            where true {alive}
        ),
        found as (
            select latent, sum(relevance) as relevance from relevances group by latent having min(relevance) > 0
        )
        select {_OF_FEATURES}, relevance
        from found join features on features.latent = found.latent
        order by relevance desc, label_score desc nulls last, features.latent limit ? offset ?
    """
