"""Write the built-in corpus: documentation, stories and skill sentences in one shuffled order.

    PYTHONPATH=experiments python -m builtin_text src/monosema/data/builtin.parquet

The documentation is that of the Python that runs this; the shipped file was made by Python 3.11.7.
"""

from __future__ import annotations

import random
import sys

from builtin_text import documentation, stories
from monosema.core import derive_seed
from monosema.data import tasks

STORIES = 4_400
"""Generated stories, letters and the like."""
SKILLS = 1_600
"""Documents of skill sentences."""
SEED = 0


def texts() -> list[tuple[str, str]]:
    """Return (source, text) of every document, in the order of the corpus."""
    made = [*documentation.topics(), *documentation.documentation()]
    made += [stories.story(random.Random(derive_seed(SEED, "story", index))) for index in range(STORIES)]
    made += [skills(random.Random(derive_seed(SEED, "skill", index))) for index in range(SKILLS)]
    random.Random(derive_seed(SEED, "order")).shuffle(made)
    return made


def skills(rng: random.Random) -> tuple[str, str]:
    """Make a document of one skill, or of several mixed, from the training splits of the tasks."""
    families = list(tasks.ALL_TASKS.values())
    n = rng.randint(4, 14)
    if rng.random() < 0.5:
        family = rng.choice(families)
        return f"skill/{family.name}", " ".join(family.sentences(rng, n, "train"))
    return "skill/mixed", " ".join(rng.choice(families).sentences(rng, 1, "train")[0] for _ in range(n))


def main(path: str) -> None:
    """Write all documents as one Parquet file with the columns `source` and `text`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sources, contents = zip(*texts(), strict=True)
    table = pa.table({"source": sources, "text": contents})
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=22,
        use_dictionary=["source"],
        row_group_size=len(table),
        data_page_size=2**26,  # one page, so that all texts share one compression window
    )


if __name__ == "__main__":
    main(sys.argv[1])
