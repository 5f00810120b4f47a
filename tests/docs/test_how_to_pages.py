"""What the how-tos on google-genai, on replay and on deploys say is run: their code as it stands there, and the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from resumekit import Policy, events
from resumekit.emulator import Fault, Trigger, parse_answer
from resumekit.testing import ScriptedService
from tests.adapters.support import settled
from tests.docs.pages import block

genai = pytest.importorskip("google.genai")

pytestmark = [pytest.mark.network, pytest.mark.allow_blocking]  # google-genai blocks, we do not
MID_ANSWER = Trigger.mid_answer()


class User:
    """Asks questions, and keeps the answers."""

    def __init__(self, *questions, name="ann"):
        self.name = name
        self.answers = []
        self.shown = []
        self._questions = questions

    def show(self, text):
        self.shown.append(text)

    async def talk(self, session):
        for question in self._questions:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": question}]})
            said = ""
            async for message in session.receive():
                if message.server_content and message.server_content.interrupted:
                    said = ""
                said += message.text or ""
            self.answers.append(parse_answer(said))


class Page:
    """Runs blocks of a page, with sessions that suit the service."""

    def __init__(self, name, service):
        self._page = f"docs/how-to/{name}"
        self.service = service
        self.told = []
        self.more = {}
        """More arguments of each `connect`."""
        self.names = {"MODEL": "gemini-2.5-flash-live", "CONFIG": {"response_modalities": ["TEXT"]}}

    def run(self, *headings):
        for heading in headings:
            exec(compile(block(self._page, heading).text, self._page, "exec", dont_inherit=True), self.names)
            if real := self.names.get("resumable"):
                self.names["resumable"] = SimpleNamespace(
                    connect=self._with_more(getattr(real, "real", real)), real=real
                )

    def _with_more(self, adapter):
        given = {"policy": self.service.policy, "on_event": self.told.append}
        return lambda client, **arguments: adapter.connect(client, **{**given, **self.more, **arguments})

    def client(self):
        return genai.Client(api_key="any", http_options=self.service.http_options())

    async def do(self, name, *arguments):
        return await self.names[name](self.client(), *arguments)

    def kinds(self):
        return [type(event).__name__ for event in self.told]


# --- google-genai.md ----------------------------------------------------------------------------------------------------


async def test_the_changed_line_survives_a_cut():
    async with ScriptedService(faults=[Fault.rst(at=MID_ANSWER, binding=0)]) as service:
        page = Page("google-genai.md", service)
        page.run("Use resumekit with google-genai")
        await page.do("call", user := User("one", "two"))
        assert [(answer.asked, answer.turns_held) for answer in user.answers] == [("one", 1), ("two", 2)]
        assert len(service.connections) == 2


async def test_a_voice_app_flushes_plays_and_runs_tools_as_shown():
    flushed, played, started = [], [], []

    class Tools:
        def start(self, calls):
            for call in calls:
                started.append(call.name)
                answering.append(asyncio.create_task(self.answer(call)))

        async def answer(self, call):
            response = {"id": call.id, "name": call.name, "response": {"found": "it"}}
            await session.send_tool_response(function_responses=response)

        def cancel(self, ids): ...

    answering = []
    cut = Fault.rst(at=Trigger.mid_audio(3), binding=0)
    async with ScriptedService(faults=[cut], audio_speed=0.5) as service:
        page = Page("google-genai.md", service)
        page.run("What your loop sees at a cut", "Use resumekit with google-genai")
        config = {
            "response_modalities": ["AUDIO"],
            "tools": [{"function_declarations": [{"name": "look_up", "description": "Look up."}]}],
        }
        speaker = SimpleNamespace(flush=lambda: flushed.append(len(played)), play=played.append)
        async with page.names["resumable"].connect(page.client(), model=page.names["MODEL"], config=config) as session:
            listening = asyncio.create_task(page.names["listen"](session, speaker, Tools()))
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "one [tool:look_up {}]"}]})
            assert await settled(lambda: any(call.answers for call in service.ledger.report().calls))
            listening.cancel()
    assert flushed
    assert played
    assert started == ["look_up"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.close(1008, "Your API key was reported as leaked.", at=MID_ANSWER), "The call has ended: "),
        (Fault.handshake(403), "The call could not begin: server rejected WebSocket connection: HTTP 403."),
        (Fault.close(1008, "models/x is not found.", at=Trigger("setup_received")), "The call could not begin: 1008 "),
    ],
    ids=["in mid-call", "refused", "closed"],
)
async def test_errors_are_told_apart(fault, words):
    async with ScriptedService(faults=[fault]) as service:
        page = Page("google-genai.md", service)
        page.run("Use resumekit with google-genai", "Errors")
        await page.do("call_and_tell", user := User("one"))
    assert [text.startswith(words) for text in user.shown] == [True], user.shown


async def test_a_callable_is_asked_at_each_dial():
    asked = []

    class Secrets:
        async def current_key(self):
            asked.append(f"key {len(asked)}")
            return asked[-1]

    async with ScriptedService(faults=[Fault.rst(at=MID_ANSWER, binding=0)]) as service:
        page = Page("google-genai.md", service)
        page.names |= {"secrets": Secrets(), "HTTP_OPTIONS": service.http_options()}
        page.run("Use resumekit with google-genai", "Credentials that change")
        await page.names["call_with_current_key"](user := User("one"))
    assert user.answers[0].asked == "one"
    assert len(asked) == 2


# --- choose-what-to-replay.md -------------------------------------------------------------------------------------------

REPLAY = "choose-what-to-replay.md"


async def fresh_start(page, *questions):
    """Have a conversation whose second connection cannot resume; return its last answer."""
    await page.do("call", user := User(*questions))
    assert "FreshStarted" in page.kinds()
    return user.answers[-1]


@pytest.mark.parametrize(("changes", "held"), [({}, 3), ({"replay_turns": 0}, 1), ({"replay_turns": 2}, 2)])
async def test_so_much_is_replayed(changes, held):
    async with ScriptedService(
        faults=[Fault.rst(at=Trigger.client_message(3), binding=0)], send_handles=False
    ) as service:
        page = Page("google-genai.md", service)
        page.more = {"policy": replace(service.policy, **changes)}
        page.run("Use resumekit with google-genai")
        assert (await fresh_start(page, "one", "two", "three")).turns_held == held


async def test_the_policy_of_the_page():
    page = Page(REPLAY, None)
    page.run("How much")
    assert (page.names["policy"].replay_turns, page.names["policy"].replay_bytes) == (20, 32 * 1024)
    assert (Policy().replay_turns, Policy().replay_bytes) == (100, 512 * 1024)


async def test_history_is_replayed_first_and_again():
    async with ScriptedService(
        faults=[Fault.rst(at=Trigger.client_message(3), binding=0)], send_handles=False
    ) as service:
        page = Page(REPLAY, service)
        page.run("Your own history")
        await page.do("call", user := User("one", "two [recall]"))
        assert [answer.turns_held for answer in user.answers] == [2, 3]
        assert user.answers[1].recall[0] == "I am allergic to nuts."
        assert "FreshStarted" in page.kinds()


async def test_what_the_function_returns_replaces_what_was_heard():
    asked = []

    class Database:
        async def turns_of(self, name):
            asked.append(name)
            return ["a", "b", "c", "d"]

    async with ScriptedService(
        faults=[Fault.rst(at=Trigger.client_message(3), binding=0)], send_handles=False
    ) as service:
        page = Page(REPLAY, service)
        page.names["database"] = Database()
        page.run("Your own history", "Your own history 2")
        await page.do("call_from_database", user := User("one", "two"))
        assert [answer.turns_held for answer in user.answers][-1] == 5
    assert asked == ["ann", "ann"]


@pytest.mark.parametrize("handles", [False, True], ids=["without a handle", "refused"])
async def test_a_summary_is_replayed_in_front(handles):
    faults = [Fault.rst(at=Trigger.client_message(3), binding=0), Fault.refuse_handle(binding=1)]
    async with ScriptedService(faults=faults[: 1 + handles], send_handles=handles, model="2.5") as service:
        page = Page(REPLAY, service)
        page.run("Your own history", "A summary instead")
        page.names["SO_FAR"] = None
        summary = page.names["Summary"]()
        summary.text = "nuts"
        page.more = {"plugins": [summary]}
        answer = await fresh_start(page, "one", "two", "three")
        assert answer.turns_held == 4


# --- rolling-deploys.md -------------------------------------------------------------------------------------------------

DEPLOYS = "rolling-deploys.md"


class Caller(User):
    """Stays in the call when its question is answered."""

    def __init__(self, question, **names):
        super().__init__(question, **names)
        self.is_answered = asyncio.Event()
        self.has_left = asyncio.Event()

    async def talk(self, session):
        try:
            await super().talk(session)
            self.is_answered.set()
            await asyncio.Event().wait()
        finally:
            self.has_left.set()


async def deployed(page, *users):
    """Run the page's process with these users, until all have been answered and it gets SIGTERM."""
    page.run("Drain")

    @contextlib.asynccontextmanager
    async def serve(take):
        for user in users:
            take(user)
        await asyncio.gather(*(user.is_answered.wait() for user in users))
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    try:
        await page.names["main"](page.client(), serve)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert all(user.has_left.is_set() for user in users)
    return [user.answers[-1].turns_held for user in users]


async def test_calls_go_on_behind_a_deploy(tmp_path):
    async with ScriptedService() as service:
        for turns in (1, 2):
            page = Page(DEPLOYS, service)
            page.names["STORE"] = f"sqlite:///{tmp_path}/calls.db"
            assert await deployed(page, *(Caller("hello", name=name) for name in ("ann", "bob"))) == [turns, turns]
        assert [event.detached for event in page.told if isinstance(event, events.Continued)] == [True, True]


async def test_a_deploy_that_changes_the_config_begins_anew(tmp_path):
    async with ScriptedService() as service:
        for instruction in ("Be brief.", "Be polite."):
            page = Page(DEPLOYS, service)
            page.names["STORE"] = f"sqlite:///{tmp_path}/calls.db"
            page.names["CONFIG"] = {**page.names["CONFIG"], "system_instruction": instruction}
            if instruction == "Be polite.":
                page.more["history"] = ["hello"]
            held = await deployed(page, Caller("how are you?"))
        assert "HandleRefused" in page.kinds()
        assert held == [2]
