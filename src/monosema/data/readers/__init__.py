"""One file per source of text; each reader gives texts one by one and holds no more than a piece of its file."""

from monosema.data.readers.files import FileCorpus
from monosema.data.readers.fingerprint import fingerprint
from monosema.data.readers.hub import HubCorpus

__all__ = ["FileCorpus", "HubCorpus", "fingerprint"]
