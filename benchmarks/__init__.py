"""What resumekit costs and gains, one file a question. See README.md here."""

from __future__ import annotations

import os
import sys

WITHOUT = os.environ.get("BENCHMARKS_WITHOUT", "")
"""The name of a package that is to be taken for not installed, to see what it is worth."""
if WITHOUT:
    sys.modules[WITHOUT] = None  # type: ignore[assignment] # pyright: ignore[reportArgumentType] -- so says `import`
