"""The campaign counts what it tried, keeps what failed, and goes on where it stopped."""

from __future__ import annotations

from collections import Counter

import pytest

from resumekit.core.outbox import Lane
from tests.core.replay import main as replay
from tests.core.schedules import PROFILES, run
from tests.proofs import campaign, prove, records
from tests.proofs.campaign import Campaign, Found, explore, fates

REPEATED = "fate: repeated, flagged"


@pytest.fixture
def in_place(tmp_path, monkeypatch):
    """Write to no directory of the clone, and take one seed at a time."""
    monkeypatch.setattr(records, "OUT", tmp_path)
    monkeypatch.setattr(campaign, "CHUNK", 1)
    return tmp_path


@pytest.fixture
def a_bug(monkeypatch):
    """Nothing is sent again."""
    monkeypatch.setattr(Lane, "rewind", lambda self: self.sent.clear())


def test_every_message_ends_in_one_fate():
    """I3: the sum of the fates is what was sent."""
    for profile in PROFILES:
        for seed in range(3):
            world = run(seed, profile)
            assert fates(world).total() == len(world.app.sent)


def test_a_message_that_ends_nowhere_is_found():
    world = next(world for seed in range(50) if fates(world := run(seed, "default"))[REPEATED])
    world.app.told.repeated.clear()

    with pytest.raises(AssertionError, match="ended nowhere"):
        fates(world)


@pytest.mark.usefixtures("a_bug")
def test_a_schedule_that_fails_is_kept_with_its_command(capsys):
    found = explore("default", range(5))

    assert found.failures
    failure = found.failures[0]
    assert failure["replay"] == f"python -m tests.core.replay default {failure['seed']}"
    assert replay(failure["replay"].split()[3:]) == 1
    assert failure["rule"] in capsys.readouterr().out


def test_a_schedule_that_does_not_end_is_a_failure(monkeypatch):
    monkeypatch.setattr(campaign, "PATIENCE", 1)

    def for_ever(_):
        while True:
            pass

    (failure,) = explore("default", range(1), for_ever).failures
    assert failure["rule"] == "TimeoutError"


def test_the_rows_can_be_read_back():
    found = explore("tools", range(2))
    again = Found.of_rows(found.as_rows(), found.failures)

    assert again.counts == found.counts
    assert again.total("schedules") == 2


def test_a_campaign_takes_the_same_seeds_of_all_profiles_and_goes_on_behind_them(in_place, capsys):
    """`--resume` adds to what was found before."""
    for done in (1, 2):
        assert prove.main(["--schedules", "11", "--jobs", "1", "--only", "schedules", "--resume"]) == 0
        told = records.load("prove", published=False)["schedules"]
        assert (told["first"], told["next"]) == (0, done)
        count = Counter(row["profile"] for row in told["rows"] for _ in range(row["schedules"]))
        assert count == dict.fromkeys(PROFILES, done)
    assert "seeds 0 to 1; go on with --resume, or --from 2" in capsys.readouterr().out


def test_a_campaign_stops_when_its_time_is_over(in_place):
    assert prove.main(["--minutes", "0", "--jobs", "1", "--only", "schedules"]) == 0
    assert records.load("prove", published=False)["schedules"]["rows"] == []


def test_a_failure_of_the_campaign_is_exit_code_1(in_place, monkeypatch, capsys):
    failure = {"profile": "tools", "seed": 7, "rule": "lineage", "problem": "lost", "replay": "python -m … tools 7"}
    monkeypatch.setattr(Campaign, "run", lambda self, progress: self.found.failures.append(failure))

    assert prove.main(["--only", "schedules"]) == 1
    assert "FAILED lineage: lost\n  python -m … tools 7" in capsys.readouterr().out
