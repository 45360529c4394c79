"""Items: rows of any matrix that have names, such as films, sentences or images, in the place of tokens.

An item is a token, and a passage of one token: its id is its row, its text its name, its activation its vector. So all
that describes the features of a language model describes those of a recommender or of an image net.
"""

from __future__ import annotations

from monosema.items.batches import ItemBatches
from monosema.items.model import ItemModel, is_vectors
from monosema.items.table import Items, read_items

__all__ = ["ItemBatches", "ItemModel", "Items", "is_vectors", "read_items"]
