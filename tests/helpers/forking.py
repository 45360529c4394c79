"""Processes as torchrun starts them, forked from one that has imported all: for programs that tests start."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import torch


def together(number: int, work: Callable[[int], None]) -> float:
    """Let so many processes do work, each told its rank; gives the seconds that they took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    children = []
    for rank in range(number):
        child = os.fork()
        if child == 0:
            try:
                os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(number), "LOCAL_RANK": str(rank)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                torch.set_num_threads(1)
                work(rank)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.monotonic() - began
