"""`ScriptedService`: the emulated Live API on a quick clock, with clients that fit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Unpack

from resumekit.adapters import websockets
from resumekit.core.policy import Policy
from resumekit.emulator import Answer, Fault, LiveServer, parse_answer

if TYPE_CHECKING:
    from resumekit.adapters._common import OnEvent, TraceTo
    from resumekit.emulator import Backend, Knobs
    from resumekit.pool import SessionPool
    from resumekit.stores import HandleStore

__all__ = ["TIME_SCALE", "ScriptedService", "patient_policy"]

TIME_SCALE = 0.05
"""Real seconds for each second of a `ScriptedService`."""
_MODEL = "gemini-2.5-flash-live"
_PATHS: dict[str, tuple[str, str]] = {
    "developer": ("google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "models/"),
    "vertex": (
        "google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
        "projects/p/locations/l/publishers/google/models/",
    ),
}
_HEADERS = {"x-goog-api-key": "any", "Authorization": "Bearer any"}


class ScriptedService(LiveServer):
    """A `resumekit.emulator.LiveServer` that is quick, and connects sessions to itself.

    ```python
    from resumekit.emulator import Fault, Trigger
    from resumekit.testing import ScriptedService


    async def test_a_conversation_goes_on():
        async with ScriptedService(faults=[Fault.rst(at=Trigger.mid_answer())]) as service:
            for number, question in enumerate(["one", "two"], 1):
                async with service.connect(key="user 7", store="memory://tests") as session:
                    answer = await service.ask(session, question)
                    assert answer.turns_held == number
            assert service.ledger.report(["one", "two"]).ok
    ```

    Args:
        profile: Which backend to play.
        faults: What shall go wrong, in order; see `resumekit.emulator.Fault`.
        time_scale: Real seconds for each second of the service.
        knobs: Whatever else `LiveServer` takes. Connections do not end of age unless `connection_age` says so.

    Raises:
        ConfigurationError: A setting or a fault makes no sense.
    """

    def __init__(
        self,
        *,
        profile: Backend = "developer",
        faults: Iterable[Fault] = (),
        time_scale: float = TIME_SCALE,
        **knobs: Unpack[Knobs],
    ) -> None:
        knobs.setdefault("connection_age", None)
        super().__init__(profile=profile, faults=faults, time_scale=time_scale, **knobs)
        self.policy = patient_policy(time_scale)
        """What suits it: the defaults on its scale, save that nothing times out because the machine is busy. Change it
        with `msgspec.structs.replace`, in real seconds."""

    @property
    def uri(self) -> str:
        """Where a WebSocket client finds it."""
        return f"wss://{self.host}:{self.port}/ws/{_PATHS[self.settings.profile][0]}"

    def http_options(self) -> dict[str, object]:
        """Return what a `google.genai.Client` takes as `http_options` to find it, with any key."""
        return {"base_url": self.base_url, "async_client_args": {"ssl": self.client_ssl_context()}}

    def connect(
        self,
        *,
        setup: Mapping[str, object] | None = None,
        key: str | None = None,
        store: str | HandleStore | None = None,
        pool: SessionPool | None = None,
        policy: Policy | None = None,
        plugins: Iterable[object] = (),
        on_event: OnEvent | None = None,
        trace: TraceTo | None = None,
    ) -> websockets.connect:
        """Return a session with it, to be entered: `resumekit.adapters.websockets.connect`, which needs no google package.

        Args:
            setup: More for the setup, beside a model that answers in text.
            policy: Instead of its own `policy`.
        """
        given = {
            "model": _PATHS[self.settings.profile][1] + _MODEL,
            "generationConfig": {"responseModalities": ["TEXT"]},
        }
        return websockets.connect(
            self.uri,
            setup={**given, **(setup or {})},
            additional_headers=_HEADERS,
            ssl=self.client_ssl_context(),
            key=key,
            store=store,
            pool=pool,
            policy=policy or self.policy,
            plugins=plugins,
            on_event=on_event,
            trace=trace,
        )

    async def ask(self, session: websockets.Session, question: str) -> Answer:
        """Ask a question as text, and return the answer, which tells how many questions the session knows of.

        Raises:
            SessionLost: The conversation cannot go on.
        """
        turn = {"role": "user", "parts": [{"text": question}]}
        await session.send({"clientContent": {"turns": [turn], "turnComplete": True}})
        said = ""
        while True:
            content = (await session.recv()).server_content
            if content is None:
                continue
            said = "" if content.interrupted else said  # cut: it is given again
            parts = (content.model_turn.parts if content.model_turn else None) or ()
            said += "".join(part.text or "" for part in parts)
            if content.turn_complete:
                answer = parse_answer(said)
                assert answer is not None, f"no answer of the emulator's: {said!r}"
                return answer


def patient_policy(time_scale: float) -> Policy:
    """Return the defaults on a time scale, save that nothing times out because the machine is busy."""
    return Policy(
        connect_timeout=200.0,
        setup_timeout=200.0,
        first_connect_deadline=400.0,
        store_timeout=200.0,
        lease=400.0,
        ping_expecting=100.0,
        abort_expecting=200.0,
        ping_idle=200.0,
        abort_idle=400.0,
        progress_watchdog=300.0,
        handle_wait=100.0,
        frozen_after=100.0,
        suspect_patience=200.0,
    ).scaled(time_scale)
