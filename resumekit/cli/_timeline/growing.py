"""The story of a trace that is still being written."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import msgspec

from resumekit.cli._timeline.reading import StoryReader
from resumekit.cli._timeline.story import Story
from resumekit.errors import ConfigurationError
from resumekit.trace import read_trace

__all__ = ["GrowingStory"]


class GrowingStory:
    """Reads on where it stopped, so that each look costs what is new. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        """How many bytes are read."""
        self._reader: StoryReader | None = None

    def story(self, clock: float | None = None) -> Story | None:
        """Return what happened so far; None if the trace has not begun.

        Args:
            clock: The time now, as the event loop of the session has it: the story goes on until then. None: it ends
                with what is in the trace.

        Raises:
            ConfigurationError: It is damaged.
        """
        if self._reader is None and not self._begin():
            return None
        assert self._reader is not None
        with self.path.open("rb") as file:
            file.seek(self._at)
            for data in file:
                if not data.endswith(b"\n"):
                    break  # it is being written
                self._at += len(data)
                try:
                    self._reader.read(msgspec.json.decode(data))
                except msgspec.DecodeError as error:
                    raise ConfigurationError(f"{self.path} is damaged at byte {self._at}: {error}") from error
        reader = deepcopy(self._reader)  # to finish a story changes it
        reader.finish(clock)
        return reader.story

    def _begin(self) -> bool:
        with self.path.open("rb") as file:
            head = [file.readline(), file.readline()]
        if not head[1].endswith(b"\n"):
            return False
        self._reader = StoryReader(read_trace(self.path))
        self._at = sum(map(len, head))
        return True
