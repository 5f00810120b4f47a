"""The switch for the fast lanes."""

from __future__ import annotations

import pytest

from resumekit.drivers import fast_lanes
from resumekit.drivers.switch import FAST


@pytest.mark.parametrize(("value", "on"), [(None, True), ("", True), ("1", True), ("0", False)])
def test_only_a_zero_switches_the_fast_lanes_off(value, on, monkeypatch):
    monkeypatch.delenv(FAST, raising=False)
    if value is not None:
        monkeypatch.setenv(FAST, value)

    assert fast_lanes() is on
