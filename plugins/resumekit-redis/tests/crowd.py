"""A crowd of clients in several processes over one Valkey server, some of which are killed; and what was seen of it.

    python crowd.py --clients 10000 --limit 50 --processes 5 --kills 3

Each client comes, waits in its process's `SessionPool`, and holds its slot for some milliseconds; one in ten is cancelled
somewhere. Three witnesses, none of which asks the pool: an observer, to which each client inside holds a connection
(the kernel closes those of a killed process); a log of what the backend answered and when, for the order; and the server
itself, in which nothing may be left at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path

from conftest import Server
from resumekit_redis import RedisPoolBackend

from resumekit.pool import Limits, SessionPool

POOL = "crowd"

# ---------------------------------------------------------------------- in each process


class Logged(RedisPoolBackend):
    """Notes what it answers, at once, so that a killed process's notes are there; and has a bug if it is asked to."""

    def __init__(self, url, path, lease, bug):
        super().__init__(url)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lease = lease
        self._bug = bug
        self._renewed = time.monotonic()
        self._left = 0

    def note(self, *words):
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    async def enter(self, pool, ticket, *, limits, **options):
        if self._bug == "limit":
            limits = Limits(2 * limits.sessions)
        if self._bug == "order" and ticket > "8":
            options["resumes"] = True
        asked = time.monotonic()
        place = await super().enter(pool, ticket, limits=limits, **options)
        self.note("enter", ticket, asked, time.monotonic(), int(place.held), place.place)
        return place

    async def renew(self, pool, held, waiting, **options):
        asked = time.monotonic()
        places = await super().renew(pool, held, waiting, **options)
        now = time.monotonic()
        if now - self._renewed >= self._lease:
            self.note("stood-still")
        self._renewed = asked
        for ticket, place in zip(waiting, places, strict=True):
            if place.held or place.place == 1:
                self.note("enter", ticket, asked, now, int(place.held), place.place)
        return places

    async def leave(self, pool, ticket):
        self._left += 1
        if self._bug == "slots" and self._left % 60 == 0:
            await super().enter(pool, ticket, limits=Limits(), lease=600.0)
        else:
            await super().leave(pool, ticket)


async def client(number, pool, observer, note, draw, spread, hold):  # noqa: PLR0917
    fate = "cancelled"
    try:
        await asyncio.sleep(draw.uniform(0.0, spread))
        came = time.monotonic()
        async with pool.slot():
            note("inside", number, came, time.monotonic())
            with socket.socket(socket.AF_UNIX) as inside:  # closed before the slot is given back
                inside.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(inside, observer)
                await loop.sock_sendall(inside, f"{os.getpid()} {number}".encode())
                await loop.sock_recv(inside, 1)
                await asyncio.sleep(draw.uniform(0.0, hold))
                fate = "served"
    finally:
        note("gone", number, fate)


async def work(url, path, observer, first, count, limit, lease, hold, bug):  # noqa: PLR0917
    backend = Logged(url, path, lease, bug)
    draw = random.Random(first)
    pool = SessionPool(limit, backend=backend, name=POOL, lease=lease, poll=0.02, timeout=None)
    spread = count / 1000
    tasks = [
        asyncio.create_task(client(number, pool, observer, backend.note, draw, spread, hold))
        for number in range(first, first + count)
    ]
    for task in draw.sample(tasks, count // 10):
        asyncio.get_running_loop().call_later(draw.uniform(0.0, 3 * spread), task.cancel)
    await asyncio.wait(tasks)
    failed = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
    await backend.close()
    assert failed == [], failed[:3]


# ---------------------------------------------------------------------- who watches


class Observer(threading.Thread):
    """Counts the connections of those who are inside.

    Who comes in waits for an answer, so that it is inside, for the kernel as well, while the others are counted: two
    clients that overlap are seen by the later one's coming.
    """

    def __init__(self, path, limit, on_inside):
        super().__init__(daemon=True)
        self.most = 0
        self.count = 0
        self._limit = limit
        self._on_inside = on_inside
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._inside = set()
        self._closed = set()
        """Within one round of the selector."""

    def run(self):
        while True:
            self._closed.clear()
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    came, _ = self._listener.accept()
                    self._selector.register(came, selectors.EVENT_READ)
                elif key.fileobj not in self._closed:
                    self._hear(key.fileobj)

    def _hear(self, who):
        try:
            said = who.recv(64)
        except ConnectionResetError:
            said = b""
        if not said:
            self._forget(who)
            return
        self._inside.add(who)
        self.count += 1
        if len(self._inside) > self._limit:
            for other in [other for other in self._inside if other is not who and not is_open(other)]:
                self._forget(other)
        self.most = max(self.most, len(self._inside))
        self._on_inside(self.count, int(said.split()[0]))
        try:
            who.send(b".")
        except BrokenPipeError:
            self._forget(who)  # it was killed, or cancelled, in this moment

    def _forget(self, who):
        self._inside.discard(who)
        self._selector.unregister(who)
        self._closed.add(who)
        who.close()


def is_open(one):
    try:
        return one.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def out_of_order(answers):
    """Count those who came after another was told its place, and were told that they have a slot before that other was
    told again that it has none.

    Args:
        answers: Ticket -> (asked, told, held, place), of all processes; their clock is one.
    """
    came, known = [], {}
    waited = []
    for ticket, told in answers.items():
        told.sort()
        came.append((told[0][0], ticket))
        known[ticket] = min((one[1] for one in told if one[2]), default=float("inf"))
        still = [one for one in told if not one[2] and one[3]]
        if still:
            waited.append((still[0][1], still[-1][0]))
    came.sort()
    first_known = [*accumulate((known[ticket] for _, ticket in reversed(came)), min)][::-1]
    """Of those who came then or later."""
    overtaken = 0
    for told, still in waited:
        at = bisect_right(came, (told, "~"))
        overtaken += at < len(came) and first_known[at] < still
    fell_back = sum(
        later[0] > earlier[1] and later[3] > earlier[3] > 0
        for told in answers.values()
        for earlier, later in pairwise(told)
    )
    return overtaken + fell_back


# ---------------------------------------------------------------------- all of it


async def crowd(folder, server, clients, limit, processes, kills, lease, hold, bug):  # noqa: PLR0917
    share = clients // processes
    victims = {clients * (2 * number + 1) // 10 for number in range(kills)}
    """After so many have come in, the process of the one who did is killed."""
    killed = set()
    workers = {}
    loop = asyncio.get_running_loop()

    def on_inside(count, pid):
        if victims and count >= min(victims) and pid not in killed:
            victims.discard(min(victims))
            killed.add(pid)
            loop.call_soon_threadsafe(workers[pid].kill)

    observer = Observer(f"{folder}/observer", limit, on_inside)
    observer.start()
    started = time.monotonic()
    for number in range(processes):
        words = [
            server.url,
            folder / f"log {number}",
            folder / "observer",
            number * share,
            share,
            limit,
            lease,
            hold,
            bug,
        ]
        worker = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--work", json.dumps([*map(str, words)])
        )
        workers[worker.pid] = worker
    ends = {worker.pid: await worker.wait() for worker in workers.values()}
    took = time.monotonic() - started
    failed = [end for pid, end in ends.items() if end != (-9 if pid in killed else 0)]

    left = await given_back(server.url, lease)
    lines = [line.split() for path in sorted(folder.glob("log *")) for line in path.read_text().splitlines()]
    answers = {}
    for line in lines:
        if line[0] == "enter" and len(line) == 6:
            told = (float(line[2]), float(line[3]), line[4] == "1", int(line[5]))
            answers.setdefault(line[1], []).append(told)
    waits = sorted(float(line[3]) - float(line[2]) for line in lines if line[0] == "inside" and len(line) == 4)
    fates = Counter(line[2] for line in lines if line[0] == "gone" and len(line) == 3)
    return {
        "clients": share * processes,
        "served": fates["served"],
        "cancelled": fates["cancelled"],
        "died with their process": share * processes - fates.total(),
        "processes killed": len(killed),
        "limit": limit,
        "most inside at a time": observer.most,
        "out of order": out_of_order(answers),
        "slots and places left": left,
        "stood still": sum(line[0] == "stood-still" for line in lines),
        "failed": failed,
        "seconds": took,
        "waited (s)": {
            "p50": statistics.median(waits),
            "p90": waits[len(waits) * 9 // 10],
            "p99": waits[len(waits) * 99 // 100],
            "max": waits[-1],
        },
    }


async def given_back(url, lease):
    """Return how many slots and places there are left when all leases are over."""
    backend = RedisPoolBackend(url)
    ends = time.monotonic() + lease + 0.5
    try:
        while True:
            place = await backend.enter(POOL, "last", limits=Limits(1), lease=60.0)
            left = place.sessions + place.waiting - 1
            if not left or time.monotonic() > ends:
                return left
            await asyncio.sleep(0.02)
    finally:
        await backend.close()


def table(report):
    rows = {**report, **{f"waited {name}": f"{seconds:.3f} s" for name, seconds in report["waited (s)"].items()}}
    del rows["waited (s)"]
    rows["seconds"] = f"{report['seconds']:.1f}"
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3, help="fewer than the processes, and at most 5")
    parser.add_argument("--lease", type=float, default=4.0, help="seconds")
    parser.add_argument("--hold", type=float, default=0.04, help="seconds, at most")
    parser.add_argument("--bug", choices=["none", "limit", "order", "slots"], default="none", help="planted")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        url, path, observer, first, count, limit, lease, hold, bug = arguments.work
        asyncio.run(work(url, path, observer, int(first), int(count), int(limit), float(lease), float(hold), bug))
        return
    wanted = (arguments.limit, arguments.processes, arguments.kills, arguments.lease, arguments.hold, arguments.bug)
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        Path(folder, "valkey").mkdir()
        server = Server(Path(folder, "valkey")).start()
        try:
            report = asyncio.run(crowd(Path(folder), server, arguments.clients, *wanted))
        finally:
            server.stop()
    print(json.dumps(report) if arguments.json else table(report))


if __name__ == "__main__":
    main()
