"""Conversations in virtual time: what is counted over minutes takes none of them, and is the same on a busy machine.

Client and emulator are the real ones; what lies between them is `tests.proofs.virtual`, without sockets. So nothing here
shows what a network does, nor which descriptors are left.
"""

from __future__ import annotations

import dataclasses

from tests.faults import runner
from tests.proofs import virtual

__all__ = ["Emulator", "converse"]

TIMEOUT = 10_000.0
"""Virtual seconds after which a conversation hangs."""


class Emulator:
    """Answers as an `EmulatorProcess` does, for an emulator in this loop."""

    def __init__(self, **settings):
        self._live = virtual.Server(**settings)
        self.settings = self._live.settings

    @property
    def base_url(self):
        return self._live.base_url

    def client_ssl_context(self):
        return self._live.client_ssl_context()

    async def ledger_report(self, expected=()):
        return self._live.ledger.report(expected)

    async def connections(self):
        return self._live.connections

    async def events(self):
        return self._live.events

    async def audio(self):
        return self._live.ledger.audio()

    async def inject(self, *faults):
        for fault in faults:
            self._live.inject(fault)

    async def __aenter__(self):
        await self._live.__aenter__()
        return self

    async def __aexit__(self, *exc):
        await self._live.__aexit__(*exc)


def converse(scenario, **arguments):
    """Run a scenario to its end, at the service's own pace; see `tests.faults.runner.converse`."""
    scenario = dataclasses.replace(scenario, scale=1.0)
    return virtual.run(lambda _: runner.converse(scenario, emulator=Emulator, timeout=TIMEOUT, **arguments))
