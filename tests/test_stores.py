"""The stored record: readable by msgspec, and silent about its handle."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from resumekit.stores import HandleStore, StoredHandle
from resumekit.wire import ResumptionHandle
from tests.drivers.test_keeper import stored

RECORD = stored(handle=ResumptionHandle("CANARY"))


def test_json_and_back():
    assert StoredHandle.from_json(RECORD.to_json()) == RECORD
    assert StoredHandle.from_json(RECORD.to_json().decode()) == RECORD
    assert json.loads(RECORD.to_json())["handle"] == "CANARY"


def test_a_record_of_a_newer_version_is_read():
    newer = {**json.loads(RECORD.to_json()), "invented_later": 1}

    assert StoredHandle.from_json(json.dumps(newer)) == RECORD


@pytest.mark.parametrize("change", [{"handle": 7}, {"handle": None}, {"issued_at": "CANARY"}, {"model": None}])
def test_nonsense_is_refused_without_quoting_it(change):
    with pytest.raises(msgspec.DecodeError) as caught:
        StoredHandle.from_json(json.dumps({**json.loads(RECORD.to_json()), **change}))

    assert "CANARY" not in str(caught.value)


def test_only_its_json_shows_the_handle():
    assert RECORD.digest in repr(RECORD)
    assert "CANARY" not in f"{RECORD!r} {RECORD} {RECORD.digest}"
    assert pickle.loads(pickle.dumps(RECORD)) == RECORD


def test_a_store_is_known_by_its_methods():
    assert not isinstance(RECORD, HandleStore)
