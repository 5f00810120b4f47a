from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("google.genai")

from benchmarks.clients import CLIENTS, cost
from benchmarks.server import Script, serve

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]


@pytest.fixture(scope="module")
def uri():
    with serve() as port:
        yield f"ws://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "script",
    [Script(count=50), Script(frames="mix", count=200, pace=1e-4), Script(frames="mix", count=200, deflate=True)],
)
@pytest.mark.parametrize("name", [*CLIENTS])
def test_each_client_takes_what_it_is_told_to(uri, name, script):
    assert cost(CLIENTS[name], uri, script, loop=asyncio.new_event_loop, warm=10, count=150) > 0
