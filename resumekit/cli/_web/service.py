"""What a conversation talks to: an emulator of its own, or the real service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from google import genai
from google.genai import types

from resumekit.cli._web.cuts import Cut
from resumekit.core.policy import Policy
from resumekit.emulator import LiveServer, model_profile
from resumekit.errors import ConfigurationError

if TYPE_CHECKING:
    from resumekit.emulator import Fault, LedgerReport, ToolTurns, Trigger

__all__ = ["Emulated", "Real", "Service"]


class Service(ABC):
    """Where the model is."""

    model: str
    policy: Policy
    is_emulated: bool

    @abstractmethod
    def client(self) -> genai.Client:
        """Return a client that finds it."""

    def strike(self, cut: Cut, at: Trigger) -> None:
        """Cut the line."""
        raise NotImplementedError

    def armed(self) -> list[str]:
        """Return the names of the cuts whose moment is to come."""
        return []

    def report(self, sent: Sequence[str]) -> LedgerReport | None:  # noqa: ARG002 -- of those that keep one
        """Return what the service's account says of the texts that were sent; None: it keeps none."""
        return None


class Emulated(Service):
    """An emulator in this process."""

    is_emulated = True

    def __init__(self, server: LiveServer, model: str) -> None:
        self._server = server
        self._struck: list[tuple[str, Fault]] = []
        """Faults that make a cut, by its name."""
        self.model = model
        self.policy = Policy().scaled(server.settings.time_scale)

    @classmethod
    @asynccontextmanager
    async def started(cls, model: str, *, speed: float = 1.0, seed: int = 0) -> AsyncGenerator[Emulated]:
        """Start it."""
        # Models before 3 end their turn with a call; ADK relies on it.
        tool_turns: ToolTurns = "at_end" if model_profile(model).family == "2.5" else "joined"
        server = LiveServer(
            model=model,
            tool_turns=tool_turns,
            time_scale=1 / speed,
            seed=seed,
            output_chunks=12,
            audio_seconds=4.0,
            audio_speed=1.25,  # a little ahead of who listens
            keep_raw=False,
        )
        async with server:
            yield cls(server, model)

    def client(self) -> genai.Client:
        """Return a client that finds it."""
        options = types.HttpOptions(
            base_url=self._server.base_url, async_client_args={"ssl": self._server.client_ssl_context()}
        )
        return genai.Client(api_key="demo", vertexai=False, http_options=options)

    def strike(self, cut: Cut, at: Trigger) -> None:
        """Cut the line."""
        for fault in cut.faults(at):
            self._server.inject(fault)
            if fault.at is at:
                self._struck.append((cut.name, fault))

    def armed(self) -> list[str]:
        """Return the names of the cuts whose moment is to come."""
        waiting = self._server.waiting
        self._struck = [(name, fault) for name, fault in self._struck if any(fault is other for other in waiting)]
        return [name for name, _ in self._struck]

    def report(self, sent: Sequence[str]) -> LedgerReport:
        """Return what the ledger says."""
        return self._server.ledger.report(sent)


class Real(Service):
    """The service itself, as the environment says: a key, or a project of Google Cloud."""

    is_emulated = False

    def __init__(self, model: str) -> None:
        self.model = model
        self.policy = Policy()

    @classmethod
    @asynccontextmanager
    async def started(cls, model: str) -> AsyncGenerator[Real]:
        """Be there."""
        yield cls(model)

    @staticmethod
    def check() -> None:
        """See whether there is a key.

        Raises:
            ConfigurationError: There is none.
        """
        try:
            client = genai.Client()
        except ValueError as error:
            raise ConfigurationError(
                "--live needs a key; set GOOGLE_API_KEY, or GOOGLE_GENAI_USE_VERTEXAI=true and a project of Google Cloud"
            ) from error
        client.close()

    def client(self) -> genai.Client:
        """Return a client that finds it."""
        return genai.Client()
