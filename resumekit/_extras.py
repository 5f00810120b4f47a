"""What to tell whoever lacks a package that an extra of resumekit brings; it must not import anything."""

from __future__ import annotations

__all__ = ["install"]


def install(extras: str) -> str:
    """Say how to install one extra or several, which are written as pip takes them: ``genai,emulator``.

    From a clone, as long as resumekit is on no package index.
    """
    what = " and ".join(repr(extra) for extra in extras.split(","))
    return f"install the extra{'s' * (',' in extras)} {what} (from a clone: pip install '.[{extras}]')"
