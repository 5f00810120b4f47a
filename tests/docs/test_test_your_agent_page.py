"""docs/how-to/test-your-agent.md: its tests are run by pytest, as they stand there, beside the app that they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("google.genai")

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-agent.md").read_text("utf-8")
GENAI, _, MARK = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SPEECH = (("gemini-2.5-flash-live", "gemini-2.5-flash-native-audio-latest"), ("TEXT", "AUDIO"))
"""What becomes of the app below where the model speaks."""
APP = """
from google import genai
from resumekit.adapters import genai as resumable

async def talk(client=None):
    client = client or genai.Client()
    async with {connect}(model="gemini-2.5-flash-live", config={{"response_modalities": ["TEXT"]}}) as session:
        for question in ("Any tips for Oslo?", "What should I pack?"):
            await session.send_client_content(turns={{"role": "user", "parts": [{{"text": question}}]}})
            async for message in session.receive():
                pass
"""


def test_the_tests_of_a_google_genai_app_pass(pytester):
    pytester.makepyfile(my_app=APP.replace("{connect}(", "resumable.connect(client, ").format())
    pytester.makepyfile(f"from google import genai\n{GENAI}\n{MARK}")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly").assert_outcomes(passed=2)


@pytest.mark.parametrize("speaks", [False, True], ids=["text", "speech"])
@pytest.mark.parametrize(
    ("connect", "outcome"),
    [("resumable.connect(client, ", {"passed": 1}), ("client.aio.live.connect(", {"failed": 1})],
    ids=["resumable", "plain"],
)
def test_the_announced_end_falls_into_an_answer(pytester, connect, outcome, speaks):
    app = APP.replace("{connect}(", connect).format()
    for written, spoken in SPEECH if speaks else ():
        app = app.replace(written, spoken)
    pytester.makepyfile(my_app=app)
    pytester.makepyfile(f"import asyncio, my_app\nfrom google import genai\n{MARK}")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(**outcome)
    assert "announced, but never closed" not in result.stdout.str()


def test_the_plain_app_fails_as_shown(pytester):
    pytester.makepyfile(my_app=APP.format(connect="client.aio.live.connect"))
    pytester.makepyfile(f"from google import genai\n{GENAI}\n{MARK}")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(failed=2)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in shown.splitlines():
        assert line in result.outlines
