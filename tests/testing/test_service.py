"""`ScriptedService`: what a plugin author talks to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

import resumekit.testing
from resumekit import Policy, events
from resumekit.emulator import Fault, Trigger
from resumekit.testing import TIME_SCALE, ScriptedService
from tests.adapters.support import nothing_is_left

pytestmark = pytest.mark.network


@pytest.mark.parametrize("profile", ["developer", "vertex"])
async def test_a_conversation_over_a_cut_and_two_sessions(profile):
    told = []
    async with ScriptedService(profile=profile, faults=[Fault.rst(at=Trigger.mid_answer())]) as service:
        async with nothing_is_left():
            for number, question in enumerate(("one", "two"), 1):
                store = {"key": profile, "store": "memory://service", "on_event": told.append}
                async with service.connect(**store) as session:
                    assert (await service.ask(session, question)).turns_held == number
        assert service.ledger.report(["one", "two"]).ok
    assert len([event for event in told if isinstance(event, events.ConnectionLost)]) == 1
    assert len([event for event in told if isinstance(event, events.Continued)]) == 1


async def test_more_for_the_setup_and_another_policy():
    policy = replace(Policy().scaled(TIME_SCALE), resumption="off")
    async with ScriptedService() as service:
        more = {"systemInstruction": {"parts": [{"text": "Be brief."}]}}
        async with service.connect(setup=more, policy=policy) as session:
            await service.ask(session, "one")
        setup = json.loads(service.ledger.raw(0)[0])["setup"]

    assert setup["systemInstruction"] == more["systemInstruction"]
    assert setup["generationConfig"] == {"responseModalities": ["TEXT"]}
    assert "sessionResumption" not in setup


@pytest.mark.allow_blocking
async def test_a_client_of_google_genai_finds_it():
    genai = pytest.importorskip("google.genai")
    async with ScriptedService() as service:
        client = genai.Client(api_key="any", http_options=service.http_options())
        config = {"response_modalities": ["TEXT"]}
        async with client.aio.live.connect(model="gemini-2.5-flash-live", config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "one"}]})
            async for _ in session.receive():
                pass
        assert service.ledger.report(["one"]).ok


def test_its_policy_is_on_its_scale_and_patient():
    quick, slow = (ScriptedService(time_scale=scale).policy for scale in (0.01, 1.0))

    assert slow.scaled(0.01) == quick
    assert quick.store_timeout >= 1.0 < quick.connect_timeout, "seconds that a busy machine may take"


def test_whoever_needs_the_conformance_classes_only_needs_no_emulator():
    code = "import sys; sys.modules['trustme'] = None; from resumekit.testing import HandleStoreConformance"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(AttributeError, match="has no attribute 'Scripted'"):
        resumekit.testing.Scripted  # noqa: B018
