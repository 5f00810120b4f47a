"""The ADK adapter: `model=ResumableGemini(model="...")` where `model="..."` was.

ADK opens a Live session through its model's `connect()`, the one public seam that all its versions have. There
`ResumableGemini` lets ADK do all it does, over a session of the google-genai adapter: connections come and go below it,
and ADK's own reconnecting has nothing to do. One `connect()` of ADK is one conversation with the service.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from resumekit import errors
from resumekit.adapters._common import OnEvent, check_listener, checked_policy
from resumekit.core import events
from resumekit.core.policy import Policy
from resumekit.stores import HandleStore

try:
    from google.adk.agents import LiveRequest, LiveRequestQueue
    from google.adk.models import Gemini, LLMRegistry
    from google.adk.plugins.base_plugin import BasePlugin
    from pydantic import Field
except ImportError as _error:
    raise ImportError(
        "resumekit.adapters.adk needs google-adk; install it with: pip install 'resumekit[adk]'", name=_error.name
    ) from _error

from resumekit.adapters import _adk_seam as seam
from resumekit.adapters import genai
from resumekit.adapters._adk_connection import TOLD, Connection, Session, masked

if TYPE_CHECKING:
    from google.adk.agents.base_agent import BaseAgent
    from google.adk.agents.callback_context import CallbackContext
    from google.adk.agents.invocation_context import InvocationContext
    from google.adk.models.base_llm_connection import BaseLlmConnection
    from google.adk.models.llm_request import LlmRequest
    from google.genai import Client, types

__all__ = ["ResumableGemini", "ResumekitPlugin", "register"]

_log = logging.getLogger("resumekit.adk")


class ResumableGemini(Gemini):
    """A `google.adk.models.Gemini` whose Live sessions live on across connections; all else is as it was.

    Everything that `Gemini` takes, and the following. The object keeps nothing of a session: one may serve many agents,
    runs and event loops.
    """

    store: str | HandleStore | None = Field(default=None, exclude=True, repr=False)
    """Where handles are kept between runs: a URL (``memory://``; plugins bring more), or a `HandleStore`. The key is
    made of the names that `ResumekitPlugin` brings: app, user, session and agent."""
    policy: Policy | None = Field(default=None, exclude=True, repr=False)
    """Limits and choices. `deliver_go_away` has no effect: ADK would restart on it."""
    plugins: Sequence[Any] = Field(default=(), exclude=True, repr=False)
    """Modules or objects with hooks (see `resumekit.hookspecs`), asked before the installed ones."""
    on_event: Callable[[events.Event], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with every event of every session; must not block."""
    notices: bool = Field(default=True, exclude=True, repr=False)
    """Whether ADK's stream of events, too, tells what happened to the connection: as `custom_metadata["resumekit"]` of
    events without content, which are not stored."""

    @property
    def _live_api_client(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride] -- read by ADK's own connect(), for `.aio.live.connect` alone
        client = super()._live_api_client
        opening = _opening.get()
        return client if opening is None else opening.instead_of(client)

    @contextlib.asynccontextmanager
    async def connect(self, llm_request: LlmRequest) -> AsyncGenerator[BaseLlmConnection]:
        """Open a conversation: what ADK calls for each Live session of an agent.

        Raises:
            ConfigurationError: A field makes no sense, or this version of ADK is not known.
            Exception: What `Gemini` raises: at once where trying again would not help, else after
                `Policy.first_connect_deadline`.
        """
        opening = _Opening(self, llm_request)
        async with contextlib.AsyncExitStack() as stack:
            mark = _opening.set(opening)
            try:
                inner = await stack.enter_async_context(super().connect(opening.request))
            finally:
                _opening.reset(mark)
            yield opening.connection(inner)


class _Opening:
    """One `connect()`: what ADK's own is given instead of a client."""

    def __init__(self, model: ResumableGemini, request: LlmRequest) -> None:
        check_listener(model.on_event)
        self._model = model
        self._who = _current()
        self._policy = replace(checked_policy(model.policy), deliver_go_away=False)
        self._session: Session | None = None
        self._bound: events.Connected | None = None
        config = request.live_connect_config.model_copy()
        resumption = config.session_resumption
        self._asked = resumption is not None
        self._transparent = resumption is not None and resumption.transparent
        if resumption is not None:
            # Older versions set it where it is refused, and refuse it then; it is put back where it belongs.
            config.session_resumption = masked(resumption.model_copy(update={"transparent": None}))
        self._history = list(request.contents) if resumption is not None and resumption.handle else None
        self.request = request.model_copy(update={"live_connect_config": config})

    def instead_of(self, client: Client) -> Any:
        """Return the client whose `aio.live.connect` ADK calls."""

        def connect(*, model: str, config: types.LiveConnectConfig) -> _Connect:
            if self._transparent and config.session_resumption is not None:
                if client.vertexai:
                    config.session_resumption.transparent = True
                else:
                    _log.warning("transparent session resumption is left out: the Developer API does not have it")
            return self._connect(client, model, config)

        return SimpleNamespace(aio=SimpleNamespace(live=SimpleNamespace(connect=connect)))

    def _connect(self, client: Client, model: str, config: types.LiveConnectConfig) -> _Connect:
        who, store = self._who, self._model.store
        if store is not None and who is None:
            raise errors.ConfigurationError(
                "ResumableGemini(store=...) needs names for its conversations; add resumekit.adapters.adk.ResumekitPlugin"
                " to the App or the Runner"
            )
        return _Connect(
            self._opened,
            client,
            model=model,
            config=config,
            key=None if store is None or who is None else who.key,
            store=store,
            history=self._history,
            policy=self._policy,
            plugins=self._model.plugins,
            on_event=self._tell,
            label="" if who is None else who.key,
            resumes=who is None or who.is_first(),
        )

    def _opened(self, session: Session) -> None:
        self._session = session
        if self._who is not None:
            self._who.session = session
        session.bridge.surfaces_updates = self._asked

    def _tell(self, event: events.Event) -> None:
        if isinstance(event, events.Connected):
            self._bound = event
        if self._session is not None and self._model.notices and isinstance(event, TOLD):
            self._session.bridge.tell(event)
        if self._model.on_event is not None:
            self._model.on_event(event)

    def connection(self, inner: BaseLlmConnection) -> Connection:
        """Return what ADK gets."""
        if self._session is None or self._bound is None:
            version = ".".join(map(str, seam.VERSION))
            raise errors.ConfigurationError(
                f"google-adk {version} opens its Live sessions in a way that resumekit does not know; use a version"
                " that is supported, or report it"
            )
        skips = self._bound.resumed or self._history is not None
        return Connection(inner, self._session, model=self.request.model, skips_history=skips)


_opening: ContextVar[_Opening | None] = ContextVar("resumekit_opening", default=None)


class _Connect(genai.connect):
    _session_type = Session

    def __init__(
        self, opened: Callable[[Session], None], *arguments: Any, label: str, resumes: bool, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._driver_options = {"label": label, "resumes": resumes}
        self._opened = opened

    async def __aenter__(self) -> Session:
        session = await super().__aenter__()
        assert isinstance(session, Session)
        self._opened(session)
        return session


# --- names ------------------------------------------------------------------------------------------------------------


class ResumekitPlugin(BasePlugin):
    """Tells `ResumableGemini` whose conversation it is: `App(plugins=[ResumekitPlugin()])`, or the same of a `Runner`.

    The names of app, user, session and agent make the key under which handles are stored, and stand in events and log.
    Of the Live sessions that one run opens for the same agent (after a transfer, or a restart by a callback), only the
    first goes on from a stored handle: ADK means the others to be new.

    It also leaves out what would end ADK's sender: content with function calls.
    """

    def __init__(self, name: str = "resumekit") -> None:
        super().__init__(name)

    async def before_run_callback(self, *, invocation_context: InvocationContext) -> None:
        """Note whose run it is."""
        who = _Who(invocation_context)
        _who.set(who)
        queue = invocation_context.live_request_queue
        if queue is not None:
            invocation_context.live_request_queue = _guarded(queue, who)

    async def before_agent_callback(self, *, agent: BaseAgent, callback_context: CallbackContext) -> None:  # noqa: ARG002 -- as ADK calls it
        """Note which agent is at work."""
        who = _current()
        if who is not None:
            who.agent = agent.name


class _Who:
    """Whose conversation it is: one of a run."""

    def __init__(self, invocation: InvocationContext) -> None:
        self._run = weakref.ref(invocation)
        self._names = (invocation.app_name, invocation.user_id, invocation.session.id)
        self._opened: set[str] = set()
        self.agent = "" if invocation.agent is None else invocation.agent.name
        self.session: Session | None = None
        """The newest that was opened."""

    @property
    def is_over(self) -> bool:
        """The run is gone; whoever opens a session now is another."""
        return self._run() is None

    @property
    def key(self) -> str:
        return "/".join(quote(name, safe="") for name in (*self._names, self.agent))

    def is_first(self) -> bool:
        """Whether this is the agent's first session of the run; ask once for each."""
        first = self.agent not in self._opened
        self._opened.add(self.agent)
        return first


_who: ContextVar[_Who | None] = ContextVar("resumekit_who", default=None)


def _current() -> _Who | None:
    who = _who.get()
    return None if who is None or who.is_over else who


class _Guard(LiveRequestQueue):
    """The application's queue, seen from ADK's sender: without what would end it."""

    _who: _Who

    async def get(self) -> LiveRequest:
        while True:
            request = await super().get()
            content = request.content
            if content is None or not any(part.function_call for part in content.parts or ()):
                return request
            problem = "a content with function calls is no user's; it was left out"
            if self._who.session is None:
                _log.warning(problem)
            else:
                self._who.session.report(events.MessageNotSent(problem=problem))


def _guarded(queue: LiveRequestQueue, who: _Who) -> LiveRequestQueue:
    """Return another view of the same queue."""
    guarded: LiveRequestQueue = object.__new__(type("GuardedQueue", (_Guard, type(queue)), {"_who": who}))
    guarded.__dict__ = queue.__dict__
    return guarded


# --- names of models --------------------------------------------------------------------------------------------------


def register(
    *,
    store: str | HandleStore | None = None,
    policy: Policy | None = None,
    plugins: Sequence[Any] = (),
    on_event: OnEvent | None = None,
    notices: bool = True,
) -> None:
    """Make agents with a model's name in place of a model use `ResumableGemini`, for all names that `Gemini` takes.

    Call it before such an agent runs. What is no Live session works as ever.

    Args:
        store: As for `ResumableGemini`, as are the others.
        policy: Limits and choices.
        plugins: Modules or objects with hooks.
        on_event: Called with every event.
        notices: Whether ADK's events tell what happened.
    """
    fields: dict[str, Any] = {
        "store": store,
        "policy": policy,
        "plugins": plugins,
        "on_event": on_event,
        "notices": notices,
    }

    class RegisteredGemini(ResumableGemini):
        def __init__(self, **given: Any) -> None:
            super().__init__(**(fields | given))

    RegisteredGemini()  # what is wrong with a field is told now
    LLMRegistry.register(RegisteredGemini)
    LLMRegistry.resolve.cache_clear()
