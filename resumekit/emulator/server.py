"""`LiveServer`: the emulated service, in the process of whoever enters it."""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import re
import socket as sockets
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack, cast

import trustme
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from resumekit.emulator import faults as fault_types
from resumekit.emulator.address import held_port
from resumekit.emulator.connection import Connection
from resumekit.emulator.service import Service
from resumekit.emulator.settings import resolve
from resumekit.emulator.transport import Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request

    from resumekit.emulator.address import Address
    from resumekit.emulator.faults import Fault
    from resumekit.emulator.ledger import Ledger
    from resumekit.emulator.service import ConnectionRecord, ServiceEvent
    from resumekit.emulator.settings import Backend, Knobs, Settings

__all__ = ["LiveServer"]

_PATHS = {
    "developer": re.compile(
        r"/+ws/google\.ai\.generativelanguage\.v1(alpha|beta)?\.GenerativeService\.BidiGenerateContent(Constrained)?"
    ),
    "vertex": re.compile(r"/+ws/google\.cloud\.aiplatform\.v1(beta1)?\.LlmBidiService/BidiGenerateContent"),
}
_MAX_MESSAGE = 64 * 2**20
_OPEN_TIMEOUT = 600.0  # for `Fault.slow_handshake`
_QUIET = logging.getLogger("resumekit.emulator.websockets")
_QUIET.setLevel(logging.CRITICAL)  # what goes wrong here goes wrong on purpose


class LiveServer:
    """A Live API server on 127.0.0.1, with TLS, a ledger and a fault script.

    Use it as an async context manager. Leaving it ends every connection; if the emulator itself had a bug, that is
    raised then, as an `ExceptionGroup`.

    Args:
        profile: Which backend to play.
        model: A model family (``"2.5"``, ``"3.x"``), a model's name, or ``"auto"`` for what each client asks for.
        faults: What shall go wrong; see `Fault`.
        time_scale: Real seconds for each second of the service: 0.1 is ten times as fast. `goAway.timeLeft` is
            scaled, too.
        seed: Of handles, session ids and call ids.
        port: 0 for any free one.
        address: Its port and its certificate authority, instead of own ones: see `Address`.
        on_event: Told of each of `events`, as it happens.
        knobs: Every other field of `resumekit.emulator.settings.Settings`.

    Raises:
        ConfigurationError: A setting or a fault makes no sense.
    """

    def __init__(
        self,
        *,
        profile: Backend = "developer",
        model: str = "2.5",
        faults: Iterable[Fault] = (),
        time_scale: float = 1.0,
        seed: int = 0,
        port: int = 0,
        address: Address | None = None,
        on_event: Callable[[ServiceEvent], object] | None = None,
        **knobs: Unpack[Knobs],
    ) -> None:
        base = {"profile": profile, "model": model, "time_scale": time_scale, "seed": seed}
        self.settings: Settings = resolve({**base, **cast("dict[str, object]", knobs)})
        self.host = "127.0.0.1"
        self.port = port if address is None else address.port
        self._address = address
        self._service = Service(self.settings, faults, stop_listening=self._stop_listening, on_event=on_event)
        self._open: set[Connection] = set()
        self._listeners: list[Server] = []
        self._chores: set[asyncio.Task[None]] = set()
        self._stack = contextlib.ExitStack()
        self._authority = trustme.CA() if address is None else address.authority
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca_file = ""

    # --- what clients need ------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What google-genai takes as `http_options.base_url`."""
        return f"https://{self.host}:{self.port}"

    @property
    def ca_file(self) -> str:
        """Path of the throw-away CA's certificate (PEM); removed when the server is left."""
        return self._ca_file

    def client_ssl_context(self) -> ssl.SSLContext:
        """Return a new context that trusts this server only."""
        pem = self._authority.cert_pem.bytes().decode()
        return ssl.create_default_context(cadata=pem)

    # --- evidence ---------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The account of what was received and of where each state came from."""
        return self._service.ledger

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The records of all connections so far, in order."""
        return self._service.records

    @property
    def events(self) -> list[ServiceEvent]:
        """What happened so far, for a timeline."""
        return self._service.events

    @property
    def waiting(self) -> list[Fault]:
        """The faults that have not struck once: what they wait for has not happened yet."""
        return self._service.script.waiting

    # --- control ----------------------------------------------------------------------------------------------------

    def inject(self, fault: Fault) -> None:
        """Add a fault at run time, for the current connection and those that follow, as the fault says.

        `Trigger.now()` strikes the current connection at once, and another one when it is bound; `Trigger.elapsed()`
        counts from now on the current one.
        """
        self._service.script.add(fault)
        current = self._current()
        if current is None:
            return
        if fault.at.on == "now":
            current.spawn(current.strike("now", 1))
        if fault.at.on == "elapsed":
            current.spawn(current.watch_the_clock())

    def _current(self) -> Connection | None:
        bound = [c for c in self._open if c.record.bound_at is not None and not c.is_over]
        return max(bound, key=lambda connection: connection.record.number, default=None)

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        folder = await asyncio.to_thread(self._make_certificates)
        self._stack.callback(folder.cleanup)
        try:
            await self._listen(None if self._address is None else self._address.take())
        except BaseException:
            self._stack.close()
            raise
        return self

    def _make_certificates(self) -> tempfile.TemporaryDirectory[str]:
        certificate = self._authority.issue_cert(self.host, "localhost")
        certificate.configure_cert(self._tls)  # pyright: ignore[reportUnknownMemberType] - a union with pyOpenSSL's
        folder = tempfile.TemporaryDirectory(prefix="resumekit-emulator-")
        path = Path(folder.name) / "ca.pem"
        self._authority.cert_pem.write_to_path(str(path))
        self._ca_file = str(path)
        return folder

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for chore in list(self._chores):
            chore.cancel()
        if self._chores:
            await asyncio.wait(self._chores)
        for connection in list(self._open):
            connection.shut_down()
        for listener in self._listeners:
            listener.close()
            await listener.wait_closed()
        await asyncio.to_thread(self._stack.pop_all().close)
        if self._address is not None:
            self._address.hold()
        if self._service.failures and exc is None:
            raise ExceptionGroup("the emulator failed", self._service.failures)

    async def _listen(self, port_holder: sockets.socket | None = None) -> None:
        holds = port_holder is not None
        keepalive = self.settings.keepalive
        patience = None if keepalive is None else keepalive * self.settings.time_scale
        listener = await serve(
            self._handle,
            None if holds else self.host,
            None if holds else self.port,
            sock=port_holder,
            ssl=self._tls,
            process_request=self._process_request,
            create_connection=Socket,
            compression=None,
            ping_interval=patience,
            ping_timeout=patience,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=2.0,
            max_size=_MAX_MESSAGE,
            max_queue=2**20,
            logger=_QUIET,
        )
        self._listeners.append(listener)
        self.port = next(iter(listener.sockets)).getsockname()[1]

    def _stop_listening(self, seconds: float) -> None:
        if not any(listener.is_serving() for listener in self._listeners):
            return  # down already
        # The asyncio server only: websockets' own close() would wait for the connections that are to live on.
        for listener in self._listeners:
            listener.server.close()
        chore = asyncio.create_task(
            self._listen_again(seconds, self._stack.enter_context(held_port(self.host, self.port)))
        )
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _listen_again(self, seconds: float, port_holder: sockets.socket) -> None:
        await self._service.sleep(seconds)
        await self._listen(port_holder)

    # --- connections ------------------------------------------------------------------------------------------------

    async def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        if not isinstance(socket, Socket):
            raise TypeError
        record = self._service.open_record(request.path)
        socket.record = record
        self._service.note(record.number, "handshake")
        for action in self._service.script.due("handshake", record.number, None):
            name = str(action.__struct_config__.tag)
            record.faults.append(name)
            self._service.note(record.number, "fault", name)
            match action:
                case fault_types.Handshake(status, retry_after):
                    socket.refuse_politely()
                    return self._reject(record, status, retry_after)
                case fault_types.SlowHandshake(seconds):
                    await self._service.sleep(seconds)
                case fault_types.ListenerDown(seconds):
                    self._stop_listening(seconds)
                    socket.reset()
                    return self._reject(record, 503)
                case _:
                    socket.reset()
                    return self._reject(record, 503)
        refusal = self._refusal(request)
        if refusal is not None:
            socket.refuse_politely()
            return self._reject(record, refusal)
        return None

    def _refusal(self, request: Request) -> int | None:
        profile = self.settings.profile
        path, _, query = request.path.partition("?")
        if _PATHS[profile].fullmatch(path) is None:
            return 404
        bearer = request.headers.get("Authorization", "").partition(" ")[2]
        if profile == "vertex":  # a key is express mode
            given, status = bearer or request.headers.get("x-goog-api-key", ""), 401
        else:
            key = re.search(r"(?:^|&)(?:key|access_token)=([^&]*)", query)
            given = request.headers.get("x-goog-api-key", "") or (key.group(1) if key else bearer)
            status = 403
        lets_in = bool(given) and self.settings.credential in {None, given}
        return None if lets_in else status

    def _reject(self, record: ConnectionRecord, status: int, retry_after: float | None = None) -> Response:
        self._service.note(record.number, "refused", f"HTTP {status}")
        record.http_status = status
        record.closed_at = record.opened_at
        record.closed_by = "server"
        phrase = http.HTTPStatus(status).phrase
        body = f'{{"error": {{"code": {status}, "message": "{phrase}"}}}}\n'.encode()
        headers = Headers(
            [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        )
        if retry_after is not None:
            scaled = retry_after * self.settings.time_scale
            headers["Retry-After"] = f"{scaled:g}"
        return Response(status, phrase, headers, body)

    async def _handle(self, socket: ServerConnection) -> None:
        if not isinstance(socket, Socket) or socket.record is None:
            raise TypeError
        connection = Connection(self._service, socket, socket.record)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
