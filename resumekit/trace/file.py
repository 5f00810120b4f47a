"""Traces, written to files: by a thread of their own, so that no disk holds a session up."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import platform
import secrets
import stat
import threading
import time
import weakref
from collections import deque
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from resumekit.core import actions, events, inputs
from resumekit.errors import ConfigurationError
from resumekit.trace.engine import TracedEngine
from resumekit.trace.masking import Masker
from resumekit.trace.reading import FORMAT
from resumekit.trace.records import Fed, Inserted, Media, Record, Streamed, Told, Took, encode_record

__all__ = ["Recording", "Trace"]

_log = logging.getLogger("resumekit.trace")
_GATHERED = 0.05
"""Seconds for which records are gathered before they are written: what a process that is killed may lose."""
_BACKLOG = 16 * 2**20
"""Bytes that may wait for a slow disk; then the trace ends."""
_JOINED = 2.0
"""Seconds that the end of a session waits for the last lines."""
_IN_A_DIRECTORY = "{time}-{pid}-{session}.jsonl"

_numbers = itertools.count(1)
_taken: set[Path] = set()
"""Files that this process has written, which no other session of it replaces."""
_taking = threading.Lock()
_running: weakref.WeakSet[Recording] = weakref.WeakSet()


class Trace:
    """Where the traces of sessions go, and what is in them. ``trace="call.jsonl"`` is short for ``Trace("call.jsonl")``.

    A trace holds everything that the engine of a session was fed, and what came of it, one JSON line each: see
    ``resumekit timeline`` and ``resumekit replay``. Without `payloads` every text is masked by one of the same length,
    media too, and so are the ids and arguments of tools; the names of tools and models are not. Handles, keys and tokens
    are never in it. The file is for its owner alone (mode 0600). What a trace cannot write ends the trace, with a
    warning, and never the session.

    Args:
        path: A file: what it held before is replaced, but no file of another session that runs, or of this process;
            the next ones are called ``call-2.jsonl`` and so on. ``{time}`` (UTC), ``{pid}`` and ``{session}`` (a number)
            may be in it. Or a directory, with a slash at the end if it is to be made: one file for each session.
        payloads: Keep what was said and shown: texts, media, ids and arguments of tools.

    Raises:
        ConfigurationError: `path` has other placeholders, or is none.
    """

    __slots__ = ("path", "payloads")

    def __init__(self, path: str | PathLike[str], *, payloads: bool = False) -> None:
        try:
            self.path = os.fspath(path)
            """As given."""
        except TypeError:
            raise ConfigurationError(
                f"trace is a {type(path).__name__}; give a path, or a resumekit.trace.Trace"
            ) from None
        self.payloads = payloads
        """Whether texts and media are kept."""
        if not (self.path and isinstance(self.path, str)):  # pyright: ignore[reportUnnecessaryIsInstance] -- a PathLike may give bytes
            raise ConfigurationError(f"trace is {self.path!r}; give the path of a file or a directory")
        self._filled(self.path, 0)

    def _filled(self, path: str, session: int) -> str:
        names = {"time": datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), "pid": os.getpid(), "session": session}
        try:
            return path.format(**names)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise ConfigurationError(
                f"trace is {self.path!r}, and only {{time}}, {{pid}} and {{session}} can stand in braces"
            ) from error

    def recording(self, label: str = "") -> Recording:
        """Return what records one session, once it is opened.

        Args:
            label: Of the session, as in its log; masked without `payloads`.
        """
        return Recording(self, label)

    def claim(self) -> tuple[Path, int]:
        """Open the file of the next session; return its path and descriptor. Blocks.

        Raises:
            OSError: It cannot be written.
        """
        session = next(_numbers)
        name = Path(self._filled(self.path, session))
        if self.path.endswith((os.sep, "/")):
            name.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _claim(name / self._filled(_IN_A_DIRECTORY, session) if name.is_dir() else name)


def _claim(wanted: Path) -> tuple[Path, int]:
    """Open the file, or the next one that no session has."""
    with _taking:
        for number in itertools.count(1):
            path = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
            place = path.resolve()
            if place in _taken:
                continue
            file = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            if not _lock(file):
                os.close(file)
                continue
            if stat.S_ISREG(os.fstat(file).st_mode):
                _taken.add(place)
                os.ftruncate(file, 0)
                path.chmod(0o600)
            return path, file
    raise AssertionError  # pragma: no cover -- there is always a next number


def _lock(file: int) -> bool:
    """Mark a file as written by this process; false if another one does."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


class Recording:
    """The trace of one session, while it is being written. Made by `Trace.recording`."""

    def __init__(self, trace: Trace, label: str) -> None:
        self.path: Path | None = None
        """Where it is, once it is open."""
        self._trace = trace
        self._label = label
        self._file = -1
        self._masker = Masker(secrets.token_bytes(32), payloads=trace.payloads)
        self._records: deque[Record] = deque()
        self._given = self._written = 0
        """Bytes of frames, roughly."""
        self._is_idle = False
        self._wake = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="resumekit-trace", daemon=True)

    def open(self) -> None:
        """Open the file, and begin to write. Blocks: not to be called in an event loop.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        head = {
            "resumekit_trace": FORMAT,
            "version": _version(),
            "python": platform.python_version(),
            "at": time.time(),
            "label": self._masker.text(self._label),
            "payloads": self._trace.payloads,
        }
        try:
            self.path, self._file = self._trace.claim()
            try:
                _put(self._file, msgspec.json.encode(head) + b"\n")
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            where = error.filename or self.path or self._trace.path
            raise ConfigurationError(f"the trace cannot be written: {error.strerror}: {str(where)!r}") from error
        self._thread.start()
        _running.add(self)
        _log.info("writing a trace to %s", self.path)

    def engine(self, setup: str, **arguments: Any) -> TracedEngine:
        """Make the engine of the session: as `Engine`, with the same arguments."""
        return TracedEngine(setup, record=self.record, clock=asyncio.get_running_loop().time, **arguments)

    def record(self, record: Record) -> None:
        """Take a record, to be written soon. Never blocks or raises."""
        if self._is_over:
            return
        self._given += _weight(record)
        self._records.append(record)
        if self._is_idle:
            self._is_idle = False
            self._wake.set()

    def tell(self, event: events.Event) -> None:
        """Take an event that is not the engine's; those are in its actions."""
        self.record(Told(msgspec.structs.replace(event, at=time.time())))

    async def finish(self) -> None:
        """Write what is left, and close the file. Waits for a slow disk no longer than two seconds."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """As `finish`, without an event loop. Blocks. Idempotent."""
        self.abandon()
        self._thread.join(_JOINED)

    def abandon(self) -> None:
        """Have the file closed without waiting for it, also where `open` still runs in another thread."""
        self._is_over = True
        self._wake.set()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        problem = ""
        try:
            while True:
                is_over = self._is_over  # looked at first: what came before it is written
                if self._given - self._written > _BACKLOG:
                    problem = "the disk is too slow for it"
                    break
                if self._write_all():
                    time.sleep(_GATHERED)
                elif is_over:
                    break
                else:
                    self._is_idle = True
                    if not self._records:
                        self._wake.wait()
                    self._wake.clear()
        except Exception as error:  # noqa: BLE001 -- a bug of ours, or of the disk: it must not be heard of elsewhere
            problem = str(error) if isinstance(error, OSError) else f"{type(error).__name__} in {_place(error)}"
        finally:
            self._is_over = True
            self._records.clear()
            os.close(self._file)
        if problem:
            _log.warning("the trace %s ends here, and the session goes on: %s", self.path, problem)

    def _write_all(self) -> bool:
        """Write what there is; return whether there was anything."""
        lines: list[bytes] = []
        size = 0
        while self._records and size < _BACKLOG // 4:
            record = self._records.popleft()
            lines.append(msgspec.json.encode(encode_record(record, self._masker)) + b"\n")
            size += len(lines[-1])
            self._written += _weight(record)
        _put(self._file, b"".join(lines))
        return bool(lines)


def _put(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _weight(record: Record) -> int:
    match record:
        case Fed():
            happened = record.happened
            size = 200
            if isinstance(happened, inputs.FrameReceived):
                size += len(happened.message.raw)
            elif isinstance(happened, inputs.Send):
                size += happened.message.size
            return size + sum(len(action.frame) for action in record.did if isinstance(action, actions.SendFrame))
        case Media() | Inserted() | Took():
            return 200 + len(record.frame)
        case Streamed():
            return 200 + record.message.size
        case _:
            return 200


def _version() -> str:
    try:
        return version("resumekit")
    except PackageNotFoundError:  # pragma: no cover -- run from a folder
        return "unknown"


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "unknown" if frame is None else f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"


@atexit.register
def _close_all() -> None:
    for recording in list(_running):
        recording.close()
