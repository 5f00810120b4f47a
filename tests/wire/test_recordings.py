"""Real traffic, where the folder with the recordings is there; nothing of it is kept in this project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from resumekit.wire import ClientKind, decode_client, decode_server, known_keys, setup_model, top_level

FOLDER = Path(os.environ.get("RESUMEKIT_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def interactions(name):
    yaml = pytest.importorskip("yaml", reason="reading the recordings needs PyYAML")
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["interactions"]


@pytest.mark.skipif(not NAMES, reason=f"no recordings in {FOLDER}")
@pytest.mark.parametrize("name", NAMES)
def test_recorded_traffic_is_read_in_full(name):
    turns = 0
    for interaction in interactions(name):
        if interaction["kind"] != "message":
            continue
        frame = json.dumps(interaction["data"], indent=2)
        if interaction["direction"] == "sent":
            message = decode_client(frame)
            assert message.kind is not ClientKind.OTHER
            assert message.kind is not ClientKind.SETUP or setup_model(frame)
            continue
        answer = decode_server(frame)
        assert not answer.partial
        assert len(known_keys(answer)) == len(top_level(frame)) > 0
        if answer.server_content is not None and answer.server_content.model_turn is not None:
            for part in answer.server_content.model_turn.parts:
                assert part.text or part.inline_data.encoded
        turns += bool(answer.server_content and answer.server_content.turn_complete)
    assert turns
