"""What the demos that use ADK share."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ADK's own
    from google.adk.models import Gemini

if TYPE_CHECKING:
    from google.genai import Client

__all__ = ["model_with_client"]


def model_with_client(kind: type[Gemini], client: Client, **fields: Any) -> Gemini:
    """Make a kind of `Gemini` whose client finds the emulator; in an app, the environment says where the service is."""

    class Here(Gemini):
        @property
        def api_client(self) -> Client:  # pyright: ignore[reportIncompatibleVariableOverride] -- there it is cached
            return client

        @property
        def _live_api_client(self) -> Client:  # pyright: ignore[reportIncompatibleVariableOverride]
            return client

    made: type[Gemini] = Here if kind is Gemini else type(kind.__name__, (kind, Here), {})  # pyright: ignore[reportGeneralTypeIssues] -- any kind below Gemini
    return made(**fields)
