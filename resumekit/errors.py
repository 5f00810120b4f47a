"""Every error that resumekit raises, as one tree.

::

    ResumekitError
    ├── ConfigurationError        an argument makes no sense; also a ValueError
    ├── KeyInUse                  another session has the conversation of this key
    ├── PoolTimeout               the session pool was full for too long
    ├── ConnectRefused            the first connection was refused for good
    ├── ConnectFailed             the first connection did not succeed in time
    ├── SessionLost               the conversation cannot go on
    ├── SenderFailed              ADK cannot send any more
    ├── SessionClosed             used after close() or end()
    ├── BufferFull                a limit of ours was reached; nothing was sent
    └── ProtocolError
        ├── LocalProtocolError    the application broke a rule of the protocol
        └── RemoteProtocolError   the service sent something that cannot be read

An error's message says what happened, the facts, and what to do.
"""

from __future__ import annotations

__all__ = [
    "BufferFull",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectRefused",
    "KeyInUse",
    "LocalProtocolError",
    "PoolTimeout",
    "ProtocolError",
    "RemoteProtocolError",
    "ResumekitError",
    "SenderFailed",
    "SessionClosed",
    "SessionLost",
]


class ResumekitError(Exception):
    """Base of every error that resumekit raises."""


class ConfigurationError(ResumekitError, ValueError):
    """An argument, a policy field or a config makes no sense; nothing was started."""


class KeyInUse(ResumekitError):
    """Another session has the conversation of this key, and has not left it within the time that there was.

    Handle stores raise it from `claim`; sessions raise it where `Policy.key_in_use` says so.
    """

    def __init__(self, seconds: float, waited: float = 0.0) -> None:
        super().__init__(seconds, waited)
        self.seconds = seconds
        """Until the other's time is over, unless it is renewed."""
        self.waited = waited
        """Seconds that were spent waiting for it."""

    def __str__(self) -> str:
        waited = f" after {self.waited:.1f} s of waiting" if self.waited else ""
        return (
            f"another session has the conversation of this key{waited}, for {self.seconds:.1f} s more if it is dead;"
            " close it, use another key, or set Policy.key_in_use"
        )


class PoolTimeout(ResumekitError):
    """The pool had no slot for a new session in time; nothing was started, and the place in the queue is given up."""

    def __init__(self, waited: float, place: int, waiting: int) -> None:
        super().__init__(waited, place, waiting)
        self.waited = waited
        """Seconds."""
        self.place = place
        """In the queue, from 1; 0: unknown, as the pool's backend did not answer."""
        self.waiting = waiting
        """Sessions in the queue."""

    def __str__(self) -> str:
        where = f"place {self.place} of {self.waiting} in the queue" if self.place else "its backend did not answer"
        return (
            f"the pool had no slot for the session within {self.waited:.1f} s ({where});"
            " try later, raise SessionPool(timeout=...), or ask for a higher quota"
        )


class ConnectRefused(ResumekitError):
    """The service refused the first connection for good; trying again would not help.

    The transport's own error is the ``__cause__``.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        """What the service answered, without secrets."""

    def __str__(self) -> str:
        return f"the service refused the connection: {self.problem}; check key, model and config"


class ConnectFailed(ResumekitError):
    """The first connection did not succeed within ``Policy.first_connect_deadline``.

    The last error of the transport is the ``__cause__``.
    """

    def __init__(self, problem: str, *, attempts: int, elapsed: float) -> None:
        super().__init__(problem, attempts, elapsed)
        self.problem = problem
        """The last failure, without secrets."""
        self.attempts = attempts
        """How many connections were dialled."""
        self.elapsed = elapsed
        """Seconds since the first dial."""

    def __str__(self) -> str:
        return (
            f"no connection after {self.attempts} attempts in {self.elapsed:.1f} s"
            f" (last: {self.problem}); check the network, or raise Policy.first_connect_deadline"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_connect_failed, (self.problem, self.attempts, self.elapsed))


def _connect_failed(problem: str, attempts: int, elapsed: float) -> ConnectFailed:
    return ConnectFailed(problem, attempts=attempts, elapsed=elapsed)


class SessionLost(ResumekitError):
    """The conversation cannot go on; the last error of the transport is the ``__cause__``."""

    def __init__(
        self,
        problem: str,
        *,
        attempts: int = 0,
        elapsed: float = 0.0,
        close_code: int | None = None,
        status_code: int | None = None,
        unsent_messages: int = 0,
        unsent_audio: float = 0.0,
        advice: str = "start a new session with history=...",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        """The failure that ended the session, without secrets."""
        self.attempts = attempts
        """How many connections were dialled since the session was last healthy."""
        self.elapsed = elapsed
        """Seconds since the session was last healthy."""
        self.close_code = close_code
        """The last WebSocket close code, if there was one."""
        self.status_code = status_code
        """The last HTTP status of a refused handshake, if there was one."""
        self.unsent_messages = unsent_messages
        """Control messages that the service's saved state does not hold."""
        self.unsent_audio = unsent_audio
        """Seconds of audio that the service's saved state does not hold."""
        self.advice = advice
        """What to do."""

    def __str__(self) -> str:
        dials = "attempt" if self.attempts == 1 else "attempts"
        tries = f" after {self.attempts} {dials} in {self.elapsed:.1f} s" if self.attempts else ""
        messages = "message" if self.unsent_messages == 1 else "messages"
        lost = f"{self.unsent_messages} {messages} and {self.unsent_audio:.1f} s of audio"
        return f"the session was lost{tries} ({self.problem}); not kept by the service: {lost}; {self.advice}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[SessionLost], args: tuple[str], facts: dict[str, object]) -> SessionLost:
    error = cls(*args)
    error.__dict__.update(facts)
    return error


class SenderFailed(ResumekitError):
    """ADK's task that takes what the application sends has ended with an error, the `__cause__`.

    ADK awaits that task as the run ends, and may raise its error in place of this one, which is then its `__context__`.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.__cause__ = error

    def __str__(self) -> str:
        return (
            f"ADK cannot send any more: a message of the application made it fail ({type(self.args[0]).__name__});"
            " the run is ended, as nothing would be heard; leave that message out, or add ResumekitPlugin, which does"
        )


class SessionClosed(ResumekitError):
    """The session was used after ``close()`` or ``end()``."""

    def __str__(self) -> str:
        return self.args[0] if self.args else "the session is closed; open a new one with connect()"


class BufferFull(ResumekitError):
    """A message did not fit into the send buffer; it was not sent and nothing else was lost."""

    def __init__(self, *, size: int, messages: int, waiting: int, limit: str) -> None:
        super().__init__(size, messages, waiting, limit)
        self.size = size
        """Bytes of the message that did not fit."""
        self.messages = messages
        """Control messages that wait for the connection."""
        self.waiting = waiting
        """Bytes of those messages."""
        self.limit = limit
        """The policy field that was reached."""

    def __str__(self) -> str:
        if not self.messages:
            return (
                f"a message of {self.size} bytes is larger than Policy.{self.limit}; raise it, or send less at a time"
            )
        return (
            f"a message of {self.size} bytes does not fit: {self.messages} messages"
            f" ({self.waiting} bytes) wait for the connection; send less, or raise Policy.{self.limit}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_buffer_full, (self.size, self.messages, self.waiting, self.limit))


def _buffer_full(size: int, messages: int, waiting: int, limit: str) -> BufferFull:
    return BufferFull(size=size, messages=messages, waiting=waiting, limit=limit)


class ProtocolError(ResumekitError):
    """Somebody broke a rule of the protocol."""


class LocalProtocolError(ProtocolError):
    """The application broke a rule of the protocol; the message was not sent."""


class RemoteProtocolError(ProtocolError):
    """The service sent something that cannot be read."""
