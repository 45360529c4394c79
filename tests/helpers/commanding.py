"""Commands in processes that will be killed.

Run as a program, it forks a process for each line of its input, so that libraries are loaded once.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from typing import Any


class Victims:
    """Commands that are killed (SIGKILL) where the provider holds them."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "sk-victim",
            "ANTHROPIC_API_KEY": "sk-victim",
            "NO_PROXY": "127.0.0.1",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def kill_at(self, world: Any, point: str, words: list[str]) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with world.hold(point) as hold:
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()
            child = int(self.process.stdout.readline())
            # What the command prints comes on the same pipe, so it is not asked to print.
            assert hold.reached.wait(60), "the command did not come to the point where it was to be killed"
            os.kill(child, signal.SIGKILL)
            assert int(self.process.stdout.readline()) == -signal.SIGKILL


def main() -> None:
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]
    import anthropic  # noqa: F401
    import openai  # noqa: F401

    import monosema.runs.interpretation  # noqa: F401
    from monosema.cli import main as run

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                os._exit(run(json.loads(line)))
            finally:
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
