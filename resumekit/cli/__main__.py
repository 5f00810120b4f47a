"""``python -m resumekit.cli``: the same as ``resumekit``."""

from __future__ import annotations

import sys

from _resumekit_command import main

if __name__ == "__main__":
    sys.exit(main())
