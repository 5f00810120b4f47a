"""Write the golden file anew, after a look at what differs: `python -m tests.golden; git diff tests/golden`."""

from __future__ import annotations

from tests.golden.faults import GOLDEN, page

GOLDEN.write_text(page(), encoding="utf-8")
