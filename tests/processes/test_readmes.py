"""What the READMEs of the plugins show is run, against real servers."""

from __future__ import annotations

import re
import textwrap

import pytest
from google import genai

from resumekit import PoolTimeout
from resumekit.adapters import genai as resumable
from resumekit.pool import SessionPool
from resumekit.testing import ScriptedService
from tests.docs.pages import block

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
REDIS, POSTGRES = (block(f"plugins/resumekit-{name}/README.md", "Usage").text for name in ("redis", "postgres"))
POOL = block("plugins/resumekit-redis/README.md", "Usage 2").text


def at(url, code):
    """Put another server into the place of that of the page."""
    code, number = re.subn(r'"(?:redis|postgresql)://[^"]*"', repr(url), code)
    assert number == 1
    return code


@pytest.mark.parametrize("shown", [REDIS, POSTGRES], ids=["redis", "postgres"])
async def test_the_stores_of_the_plugins_as_shown(shown, request):
    store = request.getfixturevalue("redis_store" if shown is REDIS else "postgres_store")
    lines = at(store.url, shown)
    if "async with" not in lines:
        lines += "async with connection as session:\n    ...\n"
    program = f"async def talk():\n{textwrap.indent(lines.replace('...', 'return await ask(session)'), '    ')}"

    async def ask(session):
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
        said = "".join([message.text or "" async for message in session.receive()])
        return int(re.search(r"(\d+) user turns held", said)[1])

    async with ScriptedService() as service:
        client = genai.Client(api_key="any", http_options=service.http_options())
        config = {"response_modalities": ["TEXT"]}
        model = "gemini-2.5-flash-live"
        names = {"resumable": resumable, "client": client, "M": model, "MODEL": model, "C": config, "CONFIG": config}
        names |= {"ask": ask}
        exec(compile(program, "README.md", "exec"), names)
        assert [await names["talk"]() for _ in range(2)] == [1, 2]


async def test_the_pool_of_redis_as_shown(redis_store):
    names = {"SessionPool": SessionPool}
    exec(compile(at(redis_store.url, POOL), "README.md", "exec"), names)
    async with names["pool"].slot():
        other = SessionPool(1, backend=redis_store.url, name="my-project", timeout=0.1)  # as of another process
        with pytest.raises(PoolTimeout):
            async with other.slot():
                pass
