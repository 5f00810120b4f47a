"""Counters, and the frozen snapshots that users get of them."""

from __future__ import annotations

import json

import msgspec
import pytest

from resumekit.core.stats import Counters, Stats
from tests.core.bench import Bench
from tests.core.test_engine import anchored


def test_a_snapshot_is_frozen_and_stays_as_it_is() -> None:
    bench = Bench()
    bench.connect()
    before = bench.engine.stats.snapshot()
    anchored(bench)
    after = bench.engine.stats.snapshot()
    assert (before.turns, after.turns) == (0, 1)
    with pytest.raises(AttributeError):
        after.turns = 5  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert before != after
    assert after == bench.engine.stats.snapshot()


def test_a_snapshot_is_good_for_metrics_and_json() -> None:
    snapshot = Counters(dials=2, downtime=1.5).snapshot()
    figures = snapshot.as_dict()
    assert (figures["dials"], figures["downtime"]) == (2, 1.5)
    assert json.loads(msgspec.json.encode(snapshot)) == figures


def test_every_counter_is_in_the_snapshot_and_the_other_way_round() -> None:
    counters = [(spec.name, spec.type.__name__) for spec in msgspec.structs.fields(Counters)]
    assert counters == [(spec.name, spec.type.__name__) for spec in msgspec.structs.fields(Stats)]
