"""`EmulatorProcess`: a `LiveServer` in a process of its own, so that neither side can stall the other."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack, cast

import msgspec

from resumekit.emulator.frames import JsonObject, as_list, as_object
from resumekit.emulator.ledger import LedgerReport
from resumekit.emulator.script import check_fault
from resumekit.emulator.service import ConnectionRecord, ServiceEvent
from resumekit.emulator.settings import resolve
from resumekit.errors import ConfigurationError, ResumekitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from resumekit.emulator.faults import Fault
    from resumekit.emulator.settings import Backend, Knobs

__all__ = ["EmulatorProcess"]

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 5.0


class EmulatorProcess:
    """A `LiveServer` in a child process; takes the same arguments, and answers for the same evidence.

    Use it as an async context manager. The child ends with it, and also when this process dies.
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
        **knobs: Unpack[Knobs],
    ) -> None:
        base = {"profile": profile, "model": model, "time_scale": time_scale, "seed": seed}
        config: JsonObject = {**base, **cast("JsonObject", knobs)}
        self.settings = resolve(config)
        faults = list(faults)
        for fault in faults:
            check_fault(fault)
        self._config: JsonObject = {**config, "port": port, "faults": msgspec.to_builtins(faults)}
        self.host = "127.0.0.1"
        self.port = port
        self._pem = ""
        self._ca_file = ""
        self._child: asyncio.subprocess.Process | None = None
        self._stack = contextlib.ExitStack()
        self._turn = asyncio.Lock()
        self._requests = 0

    # --- what clients need ------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What google-genai takes as `http_options.base_url`."""
        return f"https://{self.host}:{self.port}"

    @property
    def ca_file(self) -> str:
        """Path of the throw-away CA's certificate (PEM); removed when the process is left."""
        return self._ca_file

    def client_ssl_context(self) -> ssl.SSLContext:
        """Return a new context that trusts this server only."""
        return ssl.create_default_context(cadata=self._pem)

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._child is None:
            raise ResumekitError("the emulator is not running; enter it first")
        return self._child.pid

    # --- evidence ---------------------------------------------------------------------------------------------------

    async def ledger_report(self, expected: Sequence[str] = ()) -> LedgerReport:
        """Return `Ledger.report` of the child's ledger."""
        answer = await self._ask({"do": "report", "expected": list(expected)})
        return LedgerReport.from_dict(as_object(answer))

    async def connections(self) -> list[ConnectionRecord]:
        """Return the records of all connections so far, in order."""
        records = as_list(await self._ask({"do": "connections"}))
        return [ConnectionRecord.from_dict(as_object(record)) for record in records]

    async def events(self) -> list[ServiceEvent]:
        """Return what happened so far, for a timeline."""
        return msgspec.convert(await self._ask({"do": "events"}), list[ServiceEvent])

    async def audio(self) -> bytes:
        """Return the realtime audio of the final state, sample by sample."""
        return base64.b64decode(str(await self._ask({"do": "audio"})))

    async def raw(self, connection: int) -> list[bytes]:
        """Return every frame that a connection received."""
        frames = as_list(await self._ask({"do": "raw", "connection": connection}))
        return [base64.b64decode(str(frame)) for frame in frames]

    async def sent_on(self, connection: int) -> list[str]:
        """Return the control messages that a connection received."""
        return [str(x) for x in as_list(await self._ask({"do": "sent_on", "connection": connection}))]

    async def inject(self, *faults: Fault) -> None:
        """Add faults at run time, as `LiveServer.inject` does."""
        await self._ask({"do": "inject", "faults": msgspec.to_builtins(faults)})

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="resumekit-emulator-")
        self._stack.callback(folder.cleanup)
        package_parent = str(Path(__file__).parents[2])
        paths = [package_parent, os.environ.get("PYTHONPATH", "")]
        try:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "resumekit.emulator",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={  # what a killed child leaves behind goes with our folder
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "TMPDIR": folder.name,
                },
                limit=2**26,
                process_group=0,  # Ctrl-C is not for it: the parent decides
            )
            await self._write(self._config)
            async with asyncio.timeout(_START_TIMEOUT):
                ready = await self._read()
            if "error" in ready:
                raise ConfigurationError(f"the emulator did not start: {ready['error']}")
            self.port = int(str(ready["port"]))
            self._pem = str(ready["ca"])
            self._ca_file = str(Path(folder.name) / "ca.pem")
            await asyncio.to_thread(Path(self._ca_file).write_text, self._pem)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        status = await self._stop()
        if status and exc is None:
            raise ResumekitError(f"the emulator ended with status {status}; its error is on stderr")

    async def _stop(self) -> int:
        child, self._child = self._child, None
        try:
            if child is None:
                return 0
            if child.stdin is not None:
                child.stdin.close()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT):
                    return await child.wait()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        except TimeoutError:
            return 0  # it hung, and was killed
        finally:
            await asyncio.to_thread(self._stack.pop_all().close)

    async def _ask(self, request: JsonObject) -> object:
        async with self._turn:
            self._requests += 1
            await self._write({"id": self._requests, **request})
            answer = await self._read()
            while answer.get("id") != self._requests:  # of a request that was cancelled
                answer = await self._read()
        if "error" in answer:
            raise ResumekitError(f"the emulator refused {request['do']!r}: {answer['error']}")
        return answer.get("ok")

    async def _write(self, message: JsonObject) -> None:
        if self._child is None or self._child.stdin is None:
            raise ResumekitError("the emulator is not running; enter it first")
        self._child.stdin.write(json.dumps(message).encode() + b"\n")
        await self._child.stdin.drain()

    async def _read(self) -> JsonObject:
        if self._child is None or self._child.stdout is None:
            raise ResumekitError("the emulator is not running; enter it first")
        line = await self._child.stdout.readline()
        if not line:
            raise ResumekitError("the emulator ended; its error is on stderr")
        return as_object(json.loads(line))
