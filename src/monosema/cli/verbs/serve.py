"""serve: the app in a browser."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from monosema.cli.common import DEFAULTS, Common, errors_console
from monosema.core import InputError

_Flag = Annotated[bool, Parameter(negative="")]
RUNS = Path("runs")


def serve(
    *runs: Path,
    model: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    jobs: Path | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Show runs in a browser: their features, what a prompt activates, steering, comparison.

    Nothing leaves this machine. Ctrl-C ends it.

    ```
    monosema serve runs/demo
    monosema serve runs --open                       all runs of a folder
    monosema serve runs/demo --host 0.0.0.0 --token SECRET
    ```

    Parameters
    ----------
    runs
        Run folders, or folders that hold runs. Without any: the folder runs. No other folder is read.
    model
        A model in place of the runs' own, which must be of the same shape: `specimen`, `smollm2`, a directory, a GGUF
        file, or a name on the hub.
    host
        Address to listen at. Any but this machine's own demands --token.
    port
        Port to listen at.
    token
        What every request must bring; the address that is printed has it.
    jobs
        Folder of long work that was begun in the app. Without it: .jobs in the first of the folders.
    open_
        Open the page in the browser.
    """
    from monosema.server.security import LOOPBACK

    if host not in LOOPBACK and not token:
        raise InputError(
            f"At {host} other machines can reach the app: give --token, a word that every visitor must know, or leave "
            "out --host."
        )
    listening = _listen(host, port)
    # Arrow's own allocator would keep what tables took while they were read.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import uvicorn

    from monosema.server import create_app

    app = create_app(
        runs or (RUNS,), model=model, token=token, jobs=jobs, hosts=(host.lower(), socket.gethostname().lower())
    )
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=30, limit_concurrency=500)
    errors_console().print(f"Open {address} in a browser. Ctrl-C ends it.", soft_wrap=True)
    if open_:
        import webbrowser

        webbrowser.open(address)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> Any:
    """Return a socket that listens. Raises InputError where the port is taken, with the next one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in range(port, min(port + 100, 65536)):
        # Named as TCP, or asyncio leaves Nagle's delay on: 40 ms between the head and the body of each answer.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
        except OSError as error:
            listening.close()
            if number == port and error.errno not in (13, 98, 48):
                raise InputError(f"The address {host} can’t be listened at ({error.strerror}).") from None
            continue
        if number == port:
            return listening
        listening.close()
        raise InputError(f"Port {port} is taken or not allowed. The next free one: --port {number}")
    raise InputError(f"Port {port} is taken or not allowed, as are those after it. Give another with --port.")
