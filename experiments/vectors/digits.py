"""scikit-learn's digits: 1,797 scans of handwritten digits, as a small net sees them.

The vectors are the hidden layer (ReLU, 64 units) of a perceptron that learnt to tell the digits apart; the scans
themselves, 8 × 8 grey values, are the pictures. The data come with scikit-learn.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

UNITS = 64


def items() -> tuple[np.ndarray, dict[str, list[object]]]:
    """Return the hidden layer on each scan, and name, digit, the net's own guess, ink and picture of each."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    pixels = data.data / 16
    net = MLPClassifier((UNITS,), max_iter=1000, random_state=0).fit(pixels, data.target)
    hidden = np.maximum(pixels @ net.coefs_[0] + net.intercepts_[0], 0)
    return hidden, {
        "name": [f"scan {row}" for row in range(len(pixels))],
        "digit": [str(digit) for digit in data.target],
        "guess": [str(digit) for digit in net.predict(pixels)],
        "ink": pixels.sum(axis=1).round(1).tolist(),
        "picture": [png(255 - np.round(255 * scan.reshape(8, 8)).astype(np.uint8)) for scan in pixels],
    }


def png(grey: np.ndarray) -> bytes:
    """Write a picture of grey values, shape (height, width), as PNG."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = grey.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
