"""The ADK adapter: `model=ResumableGemini(model="...")` where `model="..."` was.

ADK opens a Live session through its model's `connect()`, the one public seam that all its versions have. There
`ResumableGemini` lets ADK do all it does, over a session of the google-genai adapter: connections come and go below it,
and ADK's own reconnecting has nothing to do. One `connect()` of ADK is one conversation with the service.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from msgspec.structs import replace

from resumekit import errors
from resumekit._extras import install
from resumekit.adapters._common import (
    OnEvent,
    TraceTo,
    check_keeping,
    check_listener,
    check_pool,
    checked_policy,
    checked_trace,
)
from resumekit.core import events
from resumekit.core.policy import Policy
from resumekit.core.setup import TextForm, family_of
from resumekit.pool import SessionPool
from resumekit.stores import HandleStore

try:
    from google.adk.models import Gemini, LLMRegistry
    from google.adk.plugins.base_plugin import BasePlugin
    from pydantic import ConfigDict, Field, model_validator
except ImportError as _error:
    raise ImportError(f"resumekit.adapters.adk needs google-adk; {install('adk')}", name=_error.name) from _error

from resumekit.adapters import _adk_seam as seam
from resumekit.adapters import genai
from resumekit.adapters._adk_connection import TOLD, Connection, History, Session, masked
from resumekit.adapters._adk_run import Run, current_run, guarded

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

    model_config = ConfigDict(hide_input_in_errors=True)  # a store's URL may hold a password

    store: str | HandleStore | None = Field(default=None, exclude=True, repr=False)
    """Where handles are kept between runs: a URL (``memory://``; plugins bring more), or a `HandleStore`. The key is
    made of the names that `ResumekitPlugin` brings: app, user and session. The first Live session of a run goes on from
    what the last one of the run before knew; turns that the ADK session got in between by other means, say `run_async`,
    that state does not hold."""
    pool: SessionPool | None = Field(default=None, exclude=True, repr=False)
    """Lets Live sessions in, in their turn; each keeps its slot across reconnects. Of one event loop at a time."""
    policy: Policy | None = Field(default=None, exclude=True, repr=False)
    """Limits and choices. `deliver_go_away` has no effect: ADK would restart on it."""
    plugins: Sequence[Any] = Field(default=(), exclude=True, repr=False)
    """Modules or objects with hooks (see `resumekit.hookspecs`), asked before the installed ones."""
    on_event: Callable[[events.Event], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with every event of every session; must not block."""
    trace: Any = Field(default=None, exclude=True, repr=False)
    """A path, or a `resumekit.trace.Trace`: write a trace of each Live session to a file of its own."""
    notices: bool = Field(default=True, exclude=True, repr=False)
    """Whether ADK's stream of events, too, tells what happened to the connection: as `custom_metadata["resumekit"]` of
    events without content, which are not stored."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.store is not None:
            check_keeping("a name", self.store)
        check_pool(self.pool)
        if isinstance(self.plugins, str):
            raise errors.ConfigurationError("plugins is a text; give a list of modules or objects")
        check_listener(self.on_event)
        self.trace = checked_trace(self.trace)  # one for all sessions
        return self

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
            ConnectRefused, ConnectFailed: In place of an error on which ADK would dial again, which it does where the
                application gave a handle.
            Exception: What `Gemini` raises: at once where trying again would not help, else after
                `Policy.first_connect_deadline`.
        """
        if type(self)._live_api_client is not ResumableGemini._live_api_client:  # noqa: SLF001 -- the seam
            raise errors.ConfigurationError(
                f"{type(self).__name__} overrides _live_api_client, where ResumableGemini gets in; override api_client, or"
                " give client_kwargs= or client= (google-adk 2.13)"
            )
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
        self._model = model
        self._run = current_run()
        self._policy = replace(checked_policy(model.policy), deliver_go_away=False)
        self._session: Session | None = None
        self._bound: events.Connected | None = None
        self._untold: list[events.Event] = []
        """What happened before ADK had a session to read of it."""
        config = request.live_connect_config.model_copy()
        self._wishes = wishes = config.session_resumption
        handle = None if wishes is None or self._is_later else wishes.handle
        if wishes is not None:
            # Older versions set `transparent` where it is refused, and refuse it then; it is put back where it belongs.
            # They also give the first agent's handle to those that come after it.
            config.session_resumption = wishes.model_copy(update={"transparent": None, "handle": masked(handle)})
        self._history = list(request.contents) if handle else None
        """What the state of the application's own handle should hold."""
        self.request = request.model_copy(update={"live_connect_config": config})

    @property
    def _is_later(self) -> bool:
        """Whether the run has had a Live session: ADK means all but the first (another agent's, or one that a callback
        makes start again) to be new.
        """
        return self._run is not None and self._run.session is not None

    def instead_of(self, client: Client) -> Any:
        """Return the client whose `aio.live.connect` ADK calls."""

        def connect(*, model: str, config: types.LiveConnectConfig) -> _Connect:
            if self._wishes is not None and config.session_resumption is not None:
                if client.vertexai:
                    config.session_resumption.transparent = self._wishes.transparent
                elif self._wishes.transparent:
                    _log.warning("transparent session resumption is left out: the Developer API does not have it")
            if getattr(config, "history_config", None) and family_of(model).text_form is TextForm.CONTENT:
                # ADK announces history, and does not end it: these models would take the first question for its end.
                config.history_config = None
            return self._connect(client, model, config)

        return SimpleNamespace(aio=SimpleNamespace(live=SimpleNamespace(connect=connect)))

    def _connect(self, client: Client, model: str, config: types.LiveConnectConfig) -> _Connect:
        run, store = self._run, self._model.store
        if store is not None and run is None:
            raise errors.ConfigurationError(
                "ResumableGemini(store=...) needs names for its conversations; add resumekit.adapters.adk.ResumekitPlugin"
                " to the App or the Runner"
            )
        return _Connect(
            self._opened,
            client,
            model=model,
            config=config,
            key=None if store is None or run is None else run.key,
            store=store,
            pool=self._model.pool,
            history=self._history,
            policy=self._policy,
            plugins=self._model.plugins,
            on_event=self._tell,
            trace=self._model.trace,
            label="" if run is None else run.label,
            resumes=not self._is_later,
            redialled=self._history is not None,
        )

    def _opened(self, session: Session) -> None:
        self._session = session
        session.bridge.surfaces_updates = self._wishes is not None and seam.SHOWS_UPDATES
        for event in self._untold:
            session.bridge.tell(event)

    def _tell(self, event: events.Event) -> object:
        if isinstance(event, events.Connected):
            self._bound = event
        if self._model.notices and isinstance(event, TOLD):
            if self._session is None:
                self._untold.append(event)
            else:
                self._session.bridge.tell(event)
        return None if self._model.on_event is None else self._model.on_event(event)

    def connection(self, inner: BaseLlmConnection) -> Connection:
        """Return what ADK gets."""
        if self._session is None or self._bound is None:
            raise seam.unknown()
        if self._run is not None:
            self._run.session = self._session
        history: History = "send"
        if self._history is not None:
            history = "drop"  # it was given with the handle
        elif self._bound.resumed:
            history = "remember"
        return Connection(inner, self._session, model=self.request.model, history=history)


_opening: ContextVar[_Opening | None] = ContextVar("resumekit_opening", default=None)


class _Connect(genai.connect):
    _session_type = Session

    def __init__(
        self,
        opened: Callable[[Session], None],
        *arguments: Any,
        label: str,
        resumes: bool,
        redialled: bool,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._driver_options = {"label": label, "resumes": resumes}
        self._opened = opened
        self._redialled = redialled

    async def __aenter__(self) -> Session:
        try:
            session = await super().__aenter__()
        except Exception as error:
            failed = None if self._driver is None else self._driver.error
            if failed is not None and self._redialled and seam.would_redial(error):
                raise failed from error
            raise
        assert isinstance(session, Session)
        self._opened(session)
        return session


# --- names ------------------------------------------------------------------------------------------------------------


class ResumekitPlugin(BasePlugin):
    """Tells `ResumableGemini` whose conversation it is: `App(plugins=[ResumekitPlugin()])`, or the same of a `Runner`.

    The names of app, user and session make the key under which handles are stored; they and the agent's stand in events
    and log. It also does what no model can: it keeps the handle of a `RunConfig` out of the log of ADK, and leaves out
    messages that would end ADK's sender, as a user's content with a function call does.
    """

    def __init__(self, name: str = "resumekit") -> None:
        super().__init__(name)
        self._runs: WeakValueDictionary[str, Run] = WeakValueDictionary()

    async def before_run_callback(self, *, invocation_context: InvocationContext) -> None:
        """Note whose run it is."""
        queue, config = invocation_context.live_request_queue, invocation_context.run_config
        if queue is None:
            return
        run = self._runs[invocation_context.invocation_id] = Run(invocation_context)
        invocation_context.live_request_queue = guarded(queue, run)  # which keeps the run
        run.at_work(run.agent)
        wishes = None if config is None else config.session_resumption
        if config is not None and wishes is not None and wishes.handle:
            shown = wishes.model_copy(update={"handle": masked(wishes.handle)})
            invocation_context.run_config = config.model_copy(update={"session_resumption": shown})

    async def before_agent_callback(self, *, agent: BaseAgent, callback_context: CallbackContext) -> None:
        """Note which agent is at work."""
        run = self._runs.get(callback_context.invocation_id)
        if run is not None:
            run.at_work(agent.name)


# --- names of models --------------------------------------------------------------------------------------------------


def register(
    *,
    store: str | HandleStore | None = None,
    pool: SessionPool | None = None,
    policy: Policy | None = None,
    plugins: Sequence[Any] = (),
    on_event: OnEvent | None = None,
    trace: TraceTo | None = None,
    notices: bool = True,
) -> None:
    """Make agents with a model's name in place of a model use `ResumableGemini`, for all names that `Gemini` takes.

    Call it before such an agent runs. What is no Live session works as ever.

    Args:
        store: As for `ResumableGemini`, as are the others.
        pool: Lets Live sessions in.
        policy: Limits and choices.
        plugins: Modules or objects with hooks.
        on_event: Called with every event.
        trace: Where the trace of each session goes.
        notices: Whether ADK's events tell what happened.
    """
    fields: dict[str, Any] = {
        "store": store,
        "pool": pool,
        "policy": policy,
        "plugins": plugins,
        "on_event": on_event,
        "trace": trace,
        "notices": notices,
    }

    class RegisteredGemini(ResumableGemini):
        def __init__(self, **given: Any) -> None:
            super().__init__(**(fields | given))

    RegisteredGemini()  # what is wrong with a field is told now
    LLMRegistry.register(RegisteredGemini)
    LLMRegistry.resolve.cache_clear()
