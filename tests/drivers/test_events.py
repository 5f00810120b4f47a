"""Events: kept for a while, read by any number of iterators."""

from __future__ import annotations

import asyncio

from resumekit.core.events import ReconnectScheduled
from resumekit.drivers.events import EventLog, Events


def event(number):
    return ReconnectScheduled(attempt=number, delay=0.0)


async def read(events, count):
    return [(await anext(events)).attempt for _ in range(count)]


async def test_each_iterator_reads_everything_from_the_beginning():
    log = EventLog()
    first = Events(log)
    log.add(event(1))
    second = Events(log)
    log.add(event(2))
    log.end()

    assert [found.attempt async for found in first] == [1, 2]
    assert [found.attempt async for found in second] == [1, 2]
    assert [found async for found in second] == []


async def test_a_slow_iterator_misses_the_oldest_and_counts_them():
    log = EventLog(limit=3)
    slow, quick = Events(log), Events(log)
    for number in range(1, 6):
        log.add(event(number))
        await read(quick, 1)

    assert await read(slow, 3) == [3, 4, 5]
    assert (slow.missed, quick.missed) == (2, 0)


async def test_a_waiting_iterator_is_woken_and_a_cancelled_step_loses_nothing():
    log = EventLog()
    events = Events(log)
    step = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.wait({step})
    other = asyncio.create_task(read(Events(log), 2))
    step = asyncio.create_task(read(events, 2))
    await asyncio.sleep(0)
    log.add(event(1))
    log.add(event(2))

    assert await step == await other == [1, 2]


async def test_a_waiting_iterator_ends_with_the_log():
    log = EventLog()
    step = asyncio.create_task(anext(Events(log), "end"))
    await asyncio.sleep(0)
    log.end()

    assert await step == "end"
