"""Questions about handles and the states that they stand for."""

from __future__ import annotations

import json
from contextlib import suppress

from resumekit.cli._probe.finding import (
    HELLO,
    LATE,
    LONG,
    QUIET,
    RECALL,
    WORDS,
    Finding,
    Findings,
    in_seconds,
    longer,
    unless,
)
from resumekit.cli._probe.link import POLICY, Ended, Line, NoAnswer, NotApplicable, Service, attempt, bound
from resumekit.core.failures import Verdict
from resumekit.wire import ResumptionHandle

__all__ = ["bad_handle", "handles", "index", "memory", "old_handles", "transparent"]

_UNKNOWN_HANDLE = ResumptionHandle("00000000-0000-4000-8000-000000000000")
_SILENCE = {"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": "A" * 4268}}}
"""0.1 s."""
_END_OF_AUDIO = {"realtimeInput": {"audioStreamEnd": True}}


async def handles(service: Service) -> Findings:
    """Watch when handles come."""
    async with bound(service) as line:
        await line.ask(HELLO)
        complete = line.frames[line.mark - 1]
        at_setup = any(frame.handle for frame in line.frames[: line.mark])
        delay = None
        with suppress(NoAnswer):
            frame = await line.wait(lambda frame: frame.handle is not None, LATE, "waiting for a handle")
            delay = frame.at - complete.at
        fits = delay is not None and delay <= POLICY.handle_wait
        wait = 0.0 if delay is None else longer(delay, 1.5)
        before = "; there was one before the turn ended, too" if at_setup else ""
        yield Finding(
            f"a handle comes within {POLICY.handle_wait:g} s of a turn's end",
            "Policy.handle_wait; RULES 1",
            ("none came" if delay is None else f"after {in_seconds(delay)}") + before,
            fits,
            unless(fits, handle_wait=wait),
        )
        answer = await line.ask(LONG)
        during = sum(frame.handle is not None for frame in answer.frames)
        taken_back = sum(
            frame.message.session_resumption_update is not None and frame.handle is None for frame in answer.frames
        )
        told = f"{during} came during an answer, and {taken_back} updates without one"
        if service.vertex:
            yield Finding("handles may come in mid-answer, too", "RULES 1", told, fits=True)
        else:
            yield Finding(
                "no handle comes while an answer is under way",
                "Policy.tool_turns: a handle ends the wait for the second part of a turn",
                told,
                during == 0,
            )


async def memory(service: Service) -> Findings:
    """Resume, and ask what was said before."""
    word = WORDS[0]
    async with bound(service) as line:
        await line.ask(f"The code word is {word}. Say yes.")
        handle = await line.handle()
    async with bound(service, handle) as line:
        answer = await line.ask(RECALL)
    yield Finding(
        "a resumed session remembers what its handle came after",
        "Policy.resumption; RULES 1",
        "it does" if word in answer.text else f"it does not: {answer.text!r}",
        word in answer.text,
        unless(word in answer.text, resumption="off"),
    )


async def old_handles(service: Service) -> Findings:
    """Resume from a handle that a newer one has replaced, then twice from the newest."""
    async with bound(service) as line:
        handles: list[ResumptionHandle] = []
        for word in WORDS[:2]:
            await line.ask(f"A code word is {word}. Say yes.")
            handles.append(await line.handle())
    older, newest = handles
    if older == newest:
        raise NoAnswer("both turns were given the same handle")
    try:
        async with bound(service, older) as line:
            answer = await line.ask(RECALL)
            newest = await line.handle()
            refusal = None
    except Ended as error:
        refusal, answer = error, None
    yield Finding(
        "an older handle is still accepted once a newer one came",
        "Policy.older_handles_valid; RULES 4",
        "it is" if refusal is None else str(refusal),
        refusal is None,
        unless(refusal is None, older_handles_valid=False),
    )
    if answer is not None:
        held = [word in answer.text for word in WORDS[:2]]
        yield Finding(
            "its state is that of the moment when it came",
            "RULES 1 and 4",
            "it is" if held == [True, False] else f"it is not: {answer.text!r}",
            held == [True, False],
        )
    async with bound(service, newest):
        pass
    try:
        async with bound(service, newest):
            refusal = None
    except Ended as error:
        refusal = error
    yield Finding(
        "a handle may be used again",
        "the same handle is tried again after a failed attempt; RULES 4",
        "it may" if refusal is None else f"it may not: {refusal}",
        refusal is None,
    )


async def bad_handle(service: Service) -> Findings:
    """Resume with a handle that never was."""
    refusal, _ = await attempt(service, _UNKNOWN_HANDLE)
    verdict = None if refusal is None else refusal.verdict(with_handle=True)
    yield Finding(
        "a handle that the service does not know is refused in words that say so",
        "hook classify_failure and its table (1007, 1008)",
        "it was accepted" if refusal is None or verdict is None else f"{refusal}, read as {verdict.value!r}",
        verdict is Verdict.HANDLE_DEAD,
    )


async def transparent(service: Service) -> Findings:
    """Ask for indices, whatever the service is known for."""
    expected = service.vertex
    seen, told = await _tells_index(service)
    yield Finding(
        f"the service {'tells' if expected else 'does not tell'} what it consumed, if it is asked to",
        "Policy.transparent",
        told,
        seen == expected,
        unless(seen == expected, transparent=seen),
    )


async def _tells_index(service: Service) -> tuple[bool, str]:
    """Find out whether updates have an index; the first ones may have none, as a 0 is left out."""
    service.transparent, told = False, "it takes the wish, and does not"
    try:
        async with bound(service, transparent=True) as line:
            for _ in WORDS:
                await line.ask(HELLO)
                with suppress(NoAnswer):
                    await line.wait(lambda frame: frame.handle is not None, QUIET, "waiting for a handle")
                if any(frame.index is not None for frame in line.frames):
                    service.transparent, told = True, "it does"
                    break
    except Ended as error:
        told = f"it refuses the wish: {error}"
    return service.transparent, told


async def index(service: Service) -> Findings:
    """Count messages, and compare with what the service says."""
    if service.transparent is None:
        await _tells_index(service)
    if not service.transparent:
        raise NotApplicable("the service tells no index")
    async with bound(service, transparent=True) as line:
        updates: list[tuple[ResumptionHandle, int]] = []
        for word in WORDS:
            await line.ask(f"A code word is {word}. Say yes.")
            updates.append(await _indexed(line))
    handle, index = updates[-1]
    async with bound(service, handle, transparent=True) as line:
        answer = await line.ask(RECALL)
        _, second = await _indexed(line)
    held = sum(word in answer.text for word in WORDS)
    if held == 0:
        raise NoAnswer(f"the resumed session holds none of {len(WORDS)} messages: {answer.text!r}")
    base = index - held + 1
    lag = f"; it was {len(WORDS) - held} messages behind" if held < len(WORDS) else ""
    yield Finding(
        f"the first message after the setup has the index {POLICY.first_index}",
        "Policy.first_index",
        f"it has {base}{lag}",
        base == POLICY.first_index,
        unless(base == POLICY.first_index or base not in {0, 1}, first_index=base),
    )
    yield Finding(
        "the index begins anew on each connection",
        "resumekit/core/link.py, which counts what a connection was sent",
        f"{index} on the first, {second} after one message on the next",
        second <= base,
    )
    async with bound(service, transparent=True) as line:
        for message in (_SILENCE, _SILENCE, _SILENCE, _END_OF_AUDIO):
            await line.send(json.dumps(message))
        await line.ask(HELLO)
        _, third = await _indexed(line)
    counted = third - base + 1 + len(WORDS) - held
    yield Finding(
        "every message counts, audio and its end among them",
        "RULES 13",
        f"{counted} of 5 counted",
        counted == 5,
    )


async def _indexed(line: Line) -> tuple[ResumptionHandle, int]:
    """Return the handle after a turn, and its index."""
    frame = await line.wait(lambda frame: frame.handle is not None, LATE, "waiting for a handle")
    assert frame.handle is not None
    return frame.handle, frame.index or 0
