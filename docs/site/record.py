"""Run the commands of a page again, and write what they print beneath them.

    python docs/site/record.py docs/verbs.md FOLDER

FOLDER is where they run, with a finished run of the demo in runs/demo. A command is a line that begins with "$ " in a
block of kind `console`; lines that end in a backslash go on. Output is cut after 30 lines, and says so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)", re.MULTILINE)
_WIDTH, _LINES = 100, 30


def main() -> None:
    page, folder = Path(sys.argv[1]), sys.argv[2]
    text = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(lambda block: f"```console\n{again(block[1], folder)}```", text), encoding="utf-8")


def again(block: str, folder: str) -> str:
    """Return a block with each command's output as it is now."""
    made = []
    for command in _COMMAND.findall(block):
        print(command, file=sys.stderr)
        environment = os.environ | {"COLUMNS": str(_WIDTH), "MONOSEMA_QUIET": "1", "LANG": "C.UTF-8", "NO_COLOR": "1"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        lines = [line.rstrip() for line in (done.stdout + done.stderr).strip("\n").splitlines()]
        rest = len(lines) - _LINES
        lines = lines if rest <= 3 else [*lines[:_LINES], f"… {rest} more lines"]
        made.append("\n".join([f"$ {command}", *lines]))
    return "\n\n".join(made) + "\n"


if __name__ == "__main__":
    main()
