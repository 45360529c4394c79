"""``python -m monosema`` is the command line."""

from monosema.cli import main

raise SystemExit(main())
