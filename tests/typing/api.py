"""The public typing, pinned. Never executed: mypy and pyright check it, and an unneeded ignore is an error as well."""

from __future__ import annotations

import resumekit

names: list[str] = resumekit.__all__
