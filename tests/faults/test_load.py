"""Many sessions in one process, whose connections are cut again and again: none is lost, and no frame of an answer."""

from __future__ import annotations

import pytest

from benchmarks import thousand

pytestmark = pytest.mark.network


@pytest.mark.parametrize("fast", ["1", "0"])
@pytest.mark.parametrize("contender", ["resumekit, native", "resumekit, google-genai"])
def test_nothing_is_lost(contender, fast):
    result = thousand.play(
        contender,
        sessions=30,
        seconds=2,
        cut_rate=0.5,
        frames=25,
        services=1,
        pinned=False,
        variables={"RESUMEKIT_FAST": fast},
    )
    assert result["wrong"] == []
    assert result["cuts"] >= 5
    assert result["answered_whole"] >= 30
