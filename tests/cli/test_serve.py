"""The socket of the app."""

from __future__ import annotations

import socket

from monosema.cli.verbs.serve import _listen


def test_answers_are_sent_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # asyncio turns Nagle's delay off only for sockets that say that they are TCP.
    with _listen("127.0.0.1", port) as listening:
        assert listening.proto == socket.IPPROTO_TCP
