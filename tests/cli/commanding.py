"""Runs commands in processes that will be killed: it forks one for each line of its input, with libraries loaded."""

from __future__ import annotations

import json
import os
import ssl
import sys


def main() -> None:
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]
    import anthropic  # noqa: F401
    import openai  # noqa: F401

    import monosema.runs.explaining  # noqa: F401
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
