"""Entry point of ``python -m specimen``."""

from specimen.main import main

raise SystemExit(main())
