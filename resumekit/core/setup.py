"""What the engine needs to know of the application's setup, and of the model that it names."""

from __future__ import annotations

import enum
from sys import intern

from msgspec import Struct

from resumekit.wire import (
    ResumptionHandle,
    bind_setup,
    setup_background_tools,
    setup_compresses,
    setup_compression_trigger,
    setup_fingerprint,
    setup_handle,
    setup_model,
    setup_proactive,
    setup_seeds_history,
)

__all__ = ["MODEL_FAMILIES", "Family", "Setup", "TextForm", "family_of"]


_BYTES_PER_TOKEN = 4
"""A rough measure for text, on the careful side for most languages."""


class TextForm(enum.Enum):
    """How a model takes text in the middle of a session; the other form is refused with 1007."""

    CONTENT = "clientContent"
    REALTIME = "realtimeInput.text"


class Family(Struct, frozen=True):
    """What differs between families of models."""

    prefix: str
    """Beginning of the model's name."""
    text_form: TextForm
    splits_turns: bool
    """A turn may end with its tool calls, or right after their responses, and be answered in another."""
    proactive: bool = False
    """It may leave speech unanswered, whatever the setup says."""


MODEL_FAMILIES = (
    Family("gemini-2", TextForm.CONTENT, splits_turns=True),
    Family("gemini-live-2", TextForm.CONTENT, splits_turns=True),
    Family("gemini-3.8", TextForm.REALTIME, splits_turns=False, proactive=True),
    Family("gemini-", TextForm.REALTIME, splits_turns=False),
    Family("", TextForm.CONTENT, splits_turns=True),
)
"""The first whose prefix matches."""


class Setup(Struct, frozen=True):
    """The setup frame of the application, and what stands in it."""

    frame: str
    model: str
    fingerprint: str
    seeds_history: bool
    """The app sends history first, as ``historyConfig.initialHistoryInClientContent`` says."""
    proactive: bool
    """The model may leave speech unanswered."""
    handle: ResumptionHandle | None
    compression_trigger: int | None
    """Tokens at which the service compresses the context."""
    compresses: bool
    """It does so at all: its session has no limit then."""
    background_tools: frozenset[str]
    """Functions that the model does not wait for."""

    @classmethod
    def parse(cls, frame: str) -> Setup:
        """Read a setup frame. The texts are shared by all sessions that have the same.

        Raises:
            LocalProtocolError: it is not one.
        """
        model = intern(setup_model(frame))
        return cls(
            frame=intern(frame),
            model=model,
            fingerprint=intern(setup_fingerprint(frame)),
            seeds_history=setup_seeds_history(frame),
            proactive=setup_proactive(frame) or family_of(model).proactive,
            handle=setup_handle(frame),
            compression_trigger=setup_compression_trigger(frame),
            compresses=setup_compresses(frame),
            background_tools=setup_background_tools(frame),
        )

    @property
    def on_vertex(self) -> bool:
        """Whether the model is named as on Vertex: by project, or by publisher."""
        return self.model.startswith(("projects/", "publishers/"))

    @property
    def family(self) -> Family:
        """The family of the model."""
        return family_of(self.model)

    @property
    def text_form(self) -> TextForm:
        """The form of text that the model takes in mid-session."""
        return self.family.text_form

    def replay_bytes(self, limit: int) -> int:
        """Return how much history may be replayed: at most half of what triggers compression."""
        trigger = self.compression_trigger
        return limit if trigger is None else min(limit, trigger // 2 * _BYTES_PER_TOKEN)

    def bind(
        self, handle: ResumptionHandle | None, *, resumption: bool, transparent: bool, history: bool | None
    ) -> str:
        """Return the frame that binds a connection; see `resumekit.wire.bind_setup`."""
        return bind_setup(
            self.frame, handle=handle, resumption=resumption, transparent=transparent, initial_history=history
        )


def family_of(model: str) -> Family:
    """Return the family of a model, by its name."""
    name = model.rpartition("/")[2]
    return next(family for family in MODEL_FAMILIES if name.startswith(family.prefix))
