"""The first message of a connection: what the service checks in a setup, and the state that it then gives out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resumekit.emulator import texts
from resumekit.emulator.conversation import Conversation
from resumekit.emulator.frames import as_list, as_object, field, has_field, object_field, text_field
from resumekit.emulator.settings import model_profile
from resumekit.emulator.speech import VoiceActivity
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from resumekit.emulator.connection import Connection
    from resumekit.emulator.frames import JsonObject
    from resumekit.emulator.ledger import Position
    from resumekit.emulator.sessions import Session
    from resumekit.emulator.settings import ModelProfile, Settings

__all__ = ["Cut", "Gate", "Terms"]

_SETUP_FIELDS = frozenset(
    {
        "avatarConfig",
        "contextWindowCompression",
        "explicitVadSignal",
        "generationConfig",
        "historyConfig",
        "inputAudioTranscription",
        "labels",
        "model",
        "outputAudioTranscription",
        "proactivity",
        "realtimeInputConfig",
        "safetySettings",
        "sessionResumption",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
_RESUMPTION_FIELDS = frozenset({"handle", "transparent"})
_MESSAGES = frozenset({"clientContent", "contextUpdate", "realtimeInput", "setup", "toolResponse"})


class Cut(Exception):
    """The connection is over; the task that sees this stops."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a setup asked for, and the state that the connection starts with."""

    state: Conversation
    parent: Position | None
    """Where the state came from, for the ledger."""
    session: Session
    with_handle: bool
    model: str
    family: ModelProfile
    speaks: bool
    """Answers are audio."""
    transcribes_input: bool
    transcribes_output: bool
    sends_handles: bool
    is_transparent: bool
    manual_activity: bool
    interruptible: bool
    session_age: float | None
    """How old the session can get."""
    searches: bool
    runs_code: bool
    background: frozenset[str]
    """Functions that the model does not wait for."""


@dataclass(frozen=True, slots=True)
class _Start:
    state: Conversation
    session: Session
    parent: Position | None
    with_handle: bool


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def _unknown(given: JsonObject, known: frozenset[str]) -> str | None:
    return next((name for name in given if _camel(name) not in known), None)


def _modalities(setup: JsonObject) -> list[object]:
    return as_list(field(object_field(setup, "generationConfig"), "responseModalities"))


def _model_exists(model: str, settings: Settings) -> bool:
    name = model.rsplit("/", 1)[-1]
    if settings.known_models is not None:
        return name in settings.known_models
    return "gemini" in name or "live" in name


class Gate:
    """Takes the setup of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._service = connection.service
        self._settings = connection.settings

    async def open(self, message: JsonObject) -> Terms:
        """Check a setup as the service does; whatever it does not like closes the connection."""
        refuse = self._connection.refuse
        setup = object_field(message, "setup")
        if not has_field(message, "setup"):
            unknown = _unknown(message, _MESSAGES)
            refuse(1007, texts.unknown_name(unknown) if unknown else texts.SETUP_FIRST)
        resumption = object_field(setup, "sessionResumption")
        handle = text_field(resumption, "handle")
        await self._count(handle)
        if name := _unknown(setup, _SETUP_FIELDS):
            refuse(1007, texts.unknown_name(name, "setup"))
        if name := _unknown(resumption, _RESUMPTION_FIELDS):
            refuse(1007, texts.unknown_name(name, "setup.session_resumption"))
        model = text_field(setup, "model")
        if not _model_exists(model, self._settings):
            version = re.search(r"\.(v\w+)\.", self._connection.record.path)
            refuse(1008, texts.model_not_found(model, version.group(1) if version else "v1"))
        transparent = field(resumption, "transparent") is True
        developer = self._settings.profile == "developer"
        if transparent and developer and not self._settings.accept_transparent:
            refuse(1007, texts.INVALID_ARGUMENT)
        if len(_modalities(setup)) > 1:
            refuse(1007, texts.TWO_MODALITIES)
        start = self._restore(handle, model, self._session_age(setup))
        self._check_quota(start.session)
        self._connection.bind_session(start.session)
        return self._terms(setup, model, start, transparent=transparent and not developer)

    def _session_age(self, setup: JsonObject) -> float | None:
        return None if has_field(setup, "contextWindowCompression") else self._settings.session_age

    async def _count(self, handle: str) -> None:
        self._service.count_binding(self._connection.record)
        self._connection.record.handle = handle or None
        await self._connection.happened("setup_received")
        if handle:
            await self._connection.happened("resume")

    def _new_state(self) -> Conversation:
        return Conversation(VoiceActivity(self._settings.vad_silence))

    def _restore(self, handle: str, model: str, session_age: float | None) -> _Start:
        store, settings = self._service.store, self._settings
        if not handle:
            return _Start(self._new_state(), store.fresh(), None, with_handle=False)
        saved = store.look_up(handle, model, self._service.now())
        if isinstance(saved, str):
            self._connection.refuse(settings.invalid_handle_code, settings.invalid_handle_reason)
        session = saved.session
        if session_age is not None and session.started_at is not None:
            age = (self._service.now() - session.started_at) / settings.time_scale
            if age >= session_age:
                self._connection.refuse(settings.session_close_code, settings.session_close_reason)
        if session.bound is not None:
            session.bound.resume_attempted()
        if session.bound is not None:
            if settings.bound_elsewhere == "refuse":
                self._connection.refuse(1011, settings.bound_elsewhere_reason)
            if settings.bound_elsewhere == "evict":
                session.bound.evict()
        saved.used = True
        if saved.poisoned or session.poisoned:
            self._connection.be_poisoned(issues=True)
        if self._connection.has_amnesia:
            return _Start(self._new_state(), session, None, with_handle=True)
        return _Start(saved.state.snapshot(), session, saved.position, with_handle=True)

    def _check_quota(self, session: Session) -> None:
        limit = self._settings.max_connections
        if limit is not None and session.bound is None and self._service.store.bound_sessions >= limit:
            self._connection.refuse(1011, texts.QUOTA)

    def _terms(self, setup: JsonObject, model: str, start: _Start, *, transparent: bool) -> Terms:
        state = start.state
        realtime = object_field(setup, "realtimeInputConfig")
        detection = object_field(realtime, "automaticActivityDetection")
        history = object_field(setup, "historyConfig")
        tools = [as_object(tool) for tool in as_list(field(setup, "tools"))]
        if field(history, "initialHistoryInClientContent") is True and not state.turns:
            state.is_seeding = True
        return Terms(
            state=state,
            parent=start.parent,
            session=start.session,
            with_handle=start.with_handle,
            model=model,
            family=self._family(model),
            speaks="AUDIO" in (_modalities(setup) or ["AUDIO"]),
            transcribes_input=has_field(setup, "inputAudioTranscription"),
            transcribes_output=has_field(setup, "outputAudioTranscription"),
            sends_handles=has_field(setup, "sessionResumption") and self._settings.send_handles,
            is_transparent=transparent,
            manual_activity=field(detection, "disabled") is True,
            interruptible=text_field(realtime, "activityHandling") != "NO_INTERRUPTION",
            session_age=self._session_age(setup),
            searches=any(has_field(tool, "googleSearch") for tool in tools),
            runs_code=any(has_field(tool, "codeExecution") for tool in tools),
            background=frozenset(
                text_field(function, "name")
                for tool in tools
                for function in map(as_object, as_list(field(tool, "functionDeclarations")))
                if text_field(function, "behavior") == "NON_BLOCKING"
            ),
        )

    def _family(self, model: str) -> ModelProfile:
        asked = self._settings.model
        if asked != "auto":
            return model_profile(asked)
        try:
            return model_profile(model.rsplit("/", 1)[-1])
        except ConfigurationError:
            return model_profile("2.5")
