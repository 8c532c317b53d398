"""`python -m intaglio` is the command line."""

from __future__ import annotations

import sys

from intaglio.cli import main

sys.exit(main())
