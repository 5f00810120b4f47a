"""``python -m resumekit.cli``: the same as ``resumekit``."""

from __future__ import annotations

import sys

from resumekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
