"""`ServerThread`: the emulated Live API in a thread of its own, for tests of any kind of application."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from msgspec.structs import replace

from resumekit.core.policy import Policy
from resumekit.emulator import ConnectionRecord, Fault, Ledger, LiveServer, ServiceEvent
from resumekit.emulator.answers import directives
from resumekit.emulator.ledger import ADK_WAITS
from resumekit.emulator.script import check_fault
from resumekit.errors import ResumekitError
from resumekit.testing.service import patient_policy

if TYPE_CHECKING:
    from types import TracebackType

    from resumekit.emulator import Address, Backend, IssuedCall, Knobs, Settings

__all__ = ["ServerThread"]

_T = TypeVar("_T")
_KEY = "any"  # the emulator takes each
_SILENCE = 3.0
"""Real seconds until a mute connection is given up, at least: an answer of the emulator's takes no time to speak of."""


class ServerThread:
    """A `resumekit.emulator.LiveServer` that runs in a thread of its own, with an event loop of its own.

    So it serves sync and async tests, any event loop, and applications that run in other threads or processes. Use it
    as a context manager; in pytest, the fixture `live_server` is one.

    ```python
    from google import genai
    from resumekit.emulator import Fault, Trigger
    from resumekit.testing import ServerThread

    with ServerThread(faults=[Fault.rst(at=Trigger.mid_answer())]) as server:
        client = genai.Client(**server.client_options())
    ```

    Args:
        profile: Which backend to play.
        model: A model family (``"2.5"``, ``"3.x"``), a model's name, or ``"auto"`` for what each client asks for.
        faults: What shall go wrong; see `resumekit.emulator.Fault`.
        time_scale: Real seconds for each second of the service: 0.1 is ten times as fast.
        seed: Of handles, session ids and call ids.
        address: Its port and its certificate authority, instead of own ones.
        knobs: Whatever else `LiveServer` takes. Connections do not end of age unless `connection_age` says so.

    Raises:
        ConfigurationError: A setting or a fault makes no sense.
    """

    def __init__(
        self,
        *,
        profile: Backend = "developer",
        model: str = "auto",
        faults: Iterable[Fault] = (),
        time_scale: float = 0.1,
        seed: int = 0,
        address: Address | None = None,
        **knobs: Unpack[Knobs],
    ) -> None:
        knobs.setdefault("connection_age", None)
        self._server = LiveServer(
            profile=profile, model=model, faults=faults, time_scale=time_scale, seed=seed, address=address, **knobs
        )
        self.settings: Settings = self._server.settings
        silence = max(_SILENCE, Policy().abort_expecting * time_scale)
        self.policy = replace(
            patient_policy(time_scale), ping_expecting=silence / 3, abort_expecting=silence, frozen_after=silence / 3
        )
        """The `resumekit.Policy` that suits it: the defaults on its scale, save that nothing times out because the
        machine is busy. A connection that says nothing to a question is given up after 3 s, or after 30 s on its scale, if
        that is more."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()
        self._said: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="resumekit-live-server", daemon=True)
        self._files = contextlib.ExitStack()

    def __repr__(self) -> str:
        """Say where it is."""
        return f"<ServerThread at {self.base_url}>"

    # --- what clients need ------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What google-genai takes as `http_options.base_url`."""
        return self._server.base_url

    @property
    def host(self) -> str:
        """Always 127.0.0.1."""
        return self._server.host

    @property
    def port(self) -> int:
        """Known once it is entered."""
        return self._server.port

    @property
    def ca_file(self) -> str:
        """Path of the throw-away CA's certificate (PEM); removed when the server is left."""
        return self._server.ca_file

    def client_ssl_context(self) -> ssl.SSLContext:
        """Return a new context that trusts this server only."""
        return self._server.client_ssl_context()

    def client_options(self) -> dict[str, Any]:
        """Return what makes a client of it: ``genai.Client(**server.client_options())``.

        For Vertex AI with a project, and credentials that nobody refreshes.
        """
        http = {"base_url": self.base_url, "async_client_args": {"ssl": self.client_ssl_context()}}
        if self.settings.profile == "developer":
            return {"api_key": _KEY, "http_options": http}
        from google.oauth2.credentials import Credentials

        account = {"project": "a-project", "location": "us-central1", "credentials": cast("Any", Credentials)(_KEY)}
        return {"vertexai": True, **account, "http_options": http}

    def environment(self) -> dict[str, str | None]:
        """Return the environment variables by which google-genai, and ADK, find it; those that are None must not be set.

        The key that is set is replaced, so that no real one gets to it, or each where none is; other certificates stay
        trusted.
        """
        keys = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
        vertex = self.settings.profile == "vertex"
        skips = filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), self.host))
        return {
            **dict.fromkeys([key for key in keys if os.environ.get(key)] or keys, _KEY),
            "GOOGLE_GEMINI_BASE_URL": self.base_url,
            "GOOGLE_VERTEX_BASE_URL": self.base_url,
            "GOOGLE_GENAI_USE_VERTEXAI": "true" if vertex else None,
            "GOOGLE_GENAI_USE_ENTERPRISE": None,
            "SSL_CERT_FILE": self._trust_file(),
            "no_proxy": ",".join(skips),
        }

    def _trust_file(self) -> str:
        before = os.environ.get("SSL_CERT_FILE") or _usual_trust_file()
        known = Path(before).read_text("utf-8") if before and Path(before).is_file() else ""
        folder = self._files.enter_context(tempfile.TemporaryDirectory(prefix="resumekit-testing-"))
        path = Path(folder) / "trusted.pem"
        path.write_text(f"{known}\n{Path(self.ca_file).read_text('utf-8')}", "utf-8")
        return str(path)

    # --- evidence ---------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The account of what was received and of where each state came from, as it is now."""
        return self._ask(lambda: copy.deepcopy(self._server.ledger))

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The records of all connections so far, in order, as they are now."""
        return self._ask(lambda: copy.deepcopy(self._server.connections))

    @property
    def events(self) -> list[ServiceEvent]:
        """What happened so far, for a timeline."""
        return self._ask(lambda: list(self._server.events))

    @property
    def waiting(self) -> list[Fault]:
        """The faults that have not struck once: what they wait for has not happened yet."""
        return self._ask(lambda: self._server.waiting)

    def story(self) -> str:
        """Tell, line by line, what became of each connection, what is missing, and what the final state holds."""
        return "\n".join([*self._missing(None), *self._seen()])

    def _seen(self) -> list[str]:
        held = self.ledger.report().held
        return [*map(str, self.connections), f"the final state holds: {', '.join(map(repr, held)) or 'nothing'}"]

    def assert_survived(self, sent: Sequence[str] | None = None) -> None:
        """Assert that the conversation lived through all that was to go wrong.

        Every fault has struck, and whatever end was announced has come, or the application has moved before; the last question was answered to its end; the state that the service ended with holds
        everything that the application sent, once and in order, and every tool call has its response.

        Args:
            sent: The texts of the application's messages, in order, and its tool responses as
                `resumekit.emulator.response_item` names them. None: do not compare.

        Raises:
            AssertionError: It says what is missing, and tells what became of each connection.
        """
        __tracebackhide__ = True
        missing = [f"  {line}" for line in self._missing(sent)]
        if missing:
            raise AssertionError("\n".join(["the conversation did not survive:", *missing, *self._seen()]))

    def _missing(self, sent: Sequence[str] | None) -> list[str]:
        report = self.ledger.report(sent or ())
        found: list[tuple[str, Iterable[object]]] = [
            ("no session was opened: does the application find the server?", [] if report.bound else [""]),
            ("never struck, so that this test shows nothing: ", map(self._why_not, self.waiting)),
            ("announced, but never closed: this test shows nothing: go_away on ", _still_announced(self.connections)),
            ("not answered to its end: ", map(repr, _unanswered(self.events, self.settings))),
            ("lost: ", map(repr, report.lost)),
            ("held more than once: ", map(repr, report.doubled)),
            ("not where it was sent: ", map(repr, report.reordered)),
            ("history was sent beside a handle", [""] if report.history_with_handle else []),
            (
                "the tool call has no response: ",
                (f"{call}{self._waits(call)}" for call in report.calls if _is_open(call)),
            ),
            ("the tool call has more than one response: ", report.calls_answered_twice),
            ("a response to a tool call that the final state does not know: ", report.responses_to_unknown),
        ]
        return [f"{what}{which}" for what, those in found for which in those]

    def _why_not(self, fault: Fault) -> str:
        """Name a fault that never struck, and say why, where it waits for a resume."""
        ended = [record for record in self.connections if record.bound_at and record.closed_at]
        if fault.at.on != "resume" or not ended or any(record.handle for record in self.connections):
            return str(fault)
        if any(record.handles_issued for record in ended):
            return f"{fault} (no handle was used to resume)"
        delay = self.settings.handle_delay
        return (
            f"{fault} (no handle was used to resume: connection {ended[0].number} ended before its first one, which comes"
            f" {delay:g} s of the service after an answer; let a pause follow the answer)"
        )

    def _waits(self, call: IssuedCall) -> str:
        """Say what a client may be waiting for that sent no response at all."""
        return "" if call.answers or self.settings.tool_turns == "at_end" else f" ({ADK_WAITS}: tool_turns='at_end')"

    # --- control ----------------------------------------------------------------------------------------------------

    def inject(self, *faults: Fault) -> None:
        """Add faults at run time, before anything that the application does next.

        `Trigger.now()` strikes the current connection at once, or else the next one.

        Raises:
            ConfigurationError: A fault makes no sense.
            ResumekitError: The server is not running.
        """
        for fault in faults:
            check_fault(fault)
        if self._loop is None:
            raise ResumekitError("the server is not running; enter it first")
        for fault in faults:
            self._loop.call_soon_threadsafe(self._server.inject, fault)

    def _ask(self, question: Callable[[], _T]) -> _T:
        """Ask in the server's thread, or here where it is not running.

        The wait is one that watchers of blocking calls in event loops do not mind, since it takes no time to speak of.
        """
        if self._loop is None:
            return question()
        answers: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

        async def answer() -> None:
            await asyncio.sleep(0)  # what was sent is to be noted, too: that is done when whoever sent it goes on
            try:
                answers.put((question(), None))
            except BaseException as error:  # noqa: BLE001 -- raised by whoever asked
                answers.put((None, error))

        asyncio.run_coroutine_threadsafe(answer(), self._loop)
        said, error = answers.get()
        if error is not None:
            raise error
        return cast("_T", said)

    # --- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        error = self._said.get()
        if error is not None:
            self._thread.join()
            raise error
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self._files.close()
        error = self._said.get()
        if error is not None and exc is None:
            raise error

    def _run(self) -> None:
        try:
            # An event loop of asyncio's own, whatever the application uses: faults reach below its transports.
            with asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 -- raised by whoever entered, or leaves
            self._said.put(error)
        else:
            self._said.put(None)

    async def _serve(self) -> None:
        async with self._server:
            self._loop = asyncio.get_running_loop()
            self._said.put(None)
            await self._leave.wait()


def _usual_trust_file() -> str | None:
    """Return what clients trust where nothing is set: google-genai and httpx take certifi's list."""
    with contextlib.suppress(ImportError):
        import certifi

        return certifi.where()
    return ssl.get_default_verify_paths().cafile


def _unanswered(events: Iterable[ServiceEvent], settings: Settings) -> list[str]:
    """Return the last question, if its answer did not come, or not to its end."""
    question, on = "", None
    for event in events:
        if event.kind == "question" and not (settings.silent or directives(event.detail).silent):
            question, on = event.detail, event.connection
        elif event.kind == "generation_started":
            on = event.connection
        elif event.kind == "turn_complete" and event.connection == on:
            on = None
    return [] if on is None else [question]


def _still_announced(connections: Sequence[ConnectionRecord]) -> Iterable[str]:
    """Name the connections that were to end, and did not, nor did the application go over to another one."""
    moved = max((record.number for record in connections if record.bound_at), default=-1)
    for record in connections:
        if record.end_announced and record.closed_by in {"", "client"} and record.number >= moved:
            yield (
                f"connection {record.number} (the conversation has to last until the announced end: have the server take longer"
                " for its answers, by chunk_interval for text, by audio_seconds and audio_speed for speech)"
            )


def _is_open(call: IssuedCall) -> bool:
    return call.held and not (call.cancelled or call.answers_held or call.in_background)
