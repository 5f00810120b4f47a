"""The typed lane: what it reads is what google-genai makes of the same frame, and what it cannot is left to it."""

from __future__ import annotations

import pytest

pytest.importorskip("google.genai")

from resumekit.adapters import _genai_typed as typed
from tests.adapters import equality

BACKENDS = pytest.mark.parametrize("vertex", [False, True], ids=["mldev", "vertex"])


@BACKENDS
@pytest.mark.parametrize("frame", typed._CANNED)
def test_canned_frames_are_read_as_google_genai_does(frame, vertex):
    lane = typed.lane(vertex=vertex)
    assert equality.disagreement(lane, frame, vertex=vertex) is None
