"""Questions about connections: how they begin, what a second one does to the first, how they end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any

from resumekit.cli._probe.finding import HELLO, LATE, LONG, Finding, Findings, in_seconds, longer, unless
from resumekit.cli._probe.link import POLICY, Ended, Frame, Line, NoAnswer, Service, attempt, bound, dial, now
from resumekit.core.failures import Verdict
from resumekit.core.setup import TextForm
from resumekit.wire import ResumptionHandle

__all__ = ["go_away", "old_binding", "pongs", "setup", "text", "warm"]

_WARM = 50.0
"""Seconds that a connection which was dialled ahead may have to wait: most of the notice of a goAway."""
_LIFE = 16 * 60.0
"""Seconds that a connection is watched for: more than is documented."""


async def setup(service: Service) -> Findings:
    """Measure dial and setupComplete, without a handle and with one."""
    dials: list[float] = []
    setups: list[float] = []
    handle: ResumptionHandle | None = None
    for _ in range(2):
        began = now()
        async with dial(service) as line:
            dials.append(now() - began)
            setups.append(await line.bind(handle))
            if handle is None:
                await line.ask(HELLO)
                with suppress(NoAnswer):
                    handle = await line.handle()
        if handle is None:
            break
    slowest = max(dials)
    yield Finding(
        f"a connection is open within {POLICY.connect_timeout:g} s",
        "Policy.connect_timeout",
        f"after {' and '.join(map(in_seconds, dials))}",
        slowest <= POLICY.connect_timeout,
        unless(slowest <= POLICY.connect_timeout, connect_timeout=longer(slowest, 2)),
    )
    slowest = max(setups)
    after = [in_seconds(setups[0]), *(f"{in_seconds(seconds)} with a handle" for seconds in setups[1:])]
    yield Finding(
        f"setupComplete comes within {POLICY.setup_timeout:g} s",
        "Policy.setup_timeout",
        f"after {', and '.join(after)}",
        slowest <= POLICY.setup_timeout,
        unless(slowest <= POLICY.setup_timeout, setup_timeout=longer(slowest, 2)),
    )


async def text(service: Service) -> Findings:
    """Find the form in which text is taken in mid-session; the questions after this one are asked in it."""
    expected = service.text_form
    (other,) = set(TextForm) - {expected}
    refusals = {form: await _takes(service, form) for form in (expected, other)}
    if (refusal := refusals[expected]) is not None:
        if refusals[other] is not None:
            raise refusal
        service.text_form = other
    told = [f"{form.value} {f'is not: {why}' if why else 'is answered'}" for form, why in refusals.items()]
    yield Finding(
        f"this model takes text in mid-session as {expected.value}",
        "the table MODEL_FAMILIES of resumekit/core/setup.py",
        ", ".join(told),
        refusal is None,
    )


async def _takes(service: Service, form: TextForm) -> NoAnswer | None:
    """Ask twice in one form; returns what came in the way, None for two answers."""
    try:
        async with bound(service) as line:
            await line.ask(HELLO, form)
            await line.ask(HELLO, form)
    except NoAnswer as error:
        return error
    return None


async def warm(service: Service) -> Findings:
    """Leave a connection without a setup, then use it."""
    assumed = f"a connection that was dialled ahead may wait {_WARM:g} s for its setup"
    used = "Policy.warm_dial"
    began = now()
    async with dial(service) as line:
        await line.listen(_WARM)
        waited = now() - began
        try:
            await line.bind()
        except Ended as error:
            yield Finding(
                assumed, used, f"ended after {in_seconds(waited)}: {error}", fits=False, policy={"warm_dial": False}
            )
        else:
            yield Finding(assumed, used, f"it was set up after {in_seconds(waited)}", fits=True)


async def old_binding(service: Service) -> Findings:
    """Resume a session whose old connection is idle, answers, is silent, or was dropped."""
    for what in ("idle", "answering"):
        async with bound(service) as old:
            await old.ask(HELLO)
            handle = await old.handle()
            if what == "answering":
                await old.say(LONG)
                await old.wait(lambda frame: frame.speaks, LATE, "waiting for the answer")
            refusal, _ = await attempt(service, handle)
            await old.listen(1.0)
            yield Finding(
                f"while the old connection is open ({what}), its handle is refused in words that say so",
                "Policy.old_binding_grace; a move closes the old connection before it binds the next",
                _how_refused(refusal, old),
                refusal is not None and refusal.verdict(with_handle=True) is Verdict.OLD_BINDING,
            )
    for what, lose in (("was dropped", Line.abort), ("is silent, with its socket open,", Line.mute)):
        async with bound(service) as old:
            await old.ask(HELLO)
            handle = await old.handle()
            lose(old)
            refusal, released = await attempt(service, handle, patience=LATE)
        grace = POLICY.old_binding_grace
        fits = released is not None and released <= grace
        told = f"still refused after {LATE:g} s" if released is None else f"accepted after {in_seconds(released)}"
        if refusal is not None:
            told += f"; first {refusal}, read as {refusal.verdict(with_handle=True).value!r}"
            fits = fits and refusal.verdict(with_handle=True) is Verdict.OLD_BINDING
        yield Finding(
            f"an old connection that {what} is released within {grace:g} s",
            "Policy.old_binding_grace",
            told,
            fits,
            unless(released is None or released <= grace, old_binding_grace=longer(released or 0.0, 1.5)),
        )


def _how_refused(refusal: Ended | None, old: Line) -> str:
    if refusal is not None:
        return f"{refusal}, read as {refusal.verdict(with_handle=True).value!r}"
    return f"accepted; the old connection {'stays' if old.failure is None else f'was ended: {old.failure}'}"


async def pongs(service: Service) -> Findings:
    """Send pings in silence and during an answer."""
    async with bound(service) as line:
        silent = await _round_trips(line, asyncio.sleep(5.0))
        during = await _round_trips(line, line.ask(LONG))
    slowest = max(silent + during)
    patience = longer(slowest, 1.5)
    fields: dict[str, object] = {}
    if slowest > POLICY.suspect_patience:
        fields["suspect_patience"] = patience
    if POLICY.ping_expecting + slowest > POLICY.abort_expecting:
        fields["abort_expecting"] = POLICY.ping_expecting + patience
    yield Finding(
        f"a pong comes within {POLICY.suspect_patience:g} s",
        "Policy.suspect_patience, abort_expecting",
        f"after at most {in_seconds(max(silent))} in silence, {in_seconds(max(during))} during an answer",
        not fields,
        fields,
    )


async def _round_trips(line: Line, meanwhile: Coroutine[Any, Any, object]) -> list[float]:
    """Send a ping every half second while something goes on; returns how long each pong took."""
    went_on = asyncio.create_task(meanwhile)
    pongs: list[asyncio.Task[float]] = []
    try:
        while not pongs or not went_on.done():
            pongs.append(asyncio.create_task(_round_trip(await line.ping())))
            await asyncio.wait([went_on], timeout=0.5)
        await went_on
        async with asyncio.timeout(LATE):
            return [await pong for pong in pongs]
    except TimeoutError:
        raise NoAnswer(f"a ping was not answered within {LATE:g} s") from None
    finally:
        for task in (went_on, *pongs):
            task.cancel()


async def _round_trip(pong: Awaitable[object]) -> float:
    began = now()
    await pong
    return now() - began


async def go_away(service: Service) -> Findings:
    """Wait for the end of a connection."""
    async with bound(service) as line:
        bound_at = line.frames[0].at
        await line.ask(HELLO)
        announced: Frame | None = None
        with suppress(Ended):
            announced = await line.wait(lambda frame: frame.message.go_away is not None, _LIFE, "waiting for goAway")
        go_away = announced and announced.message.go_away
        left = go_away.seconds if go_away else None
        if announced is not None:
            await line.listen((LATE if left is None else left) + LATE)
    age = in_seconds((announced.at if announced else line.ended_at) - bound_at)
    yield Finding(
        "goAway announces the end of a connection",
        "Policy.go_away_margin_min, warm_dial",
        f"none came before the connection ended, after {age}" if announced is None else f"one came after {age}",
        announced is not None,
    )
    lasted = line.ended_at - announced.at if announced and line.failure else None
    if announced is not None:
        cut = "it did not end" if lasted is None else f"it ended after {in_seconds(lasted)}"
        is_short = left is None and lasted is not None and lasted < POLICY.go_away_assumed
        yield Finding(
            "goAway says how much time is left",
            "Policy.go_away_assumed",
            f"{'it does not' if left is None else in_seconds(left)}; {cut}",
            left is not None,
            unless(not is_short, go_away_assumed=float(math.floor(lasted or 0.0))),
        )
    if left is not None and lasted is not None:
        early = left - lasted
        fits = early < POLICY.go_away_margin_min
        margin = longer(early + POLICY.go_away_margin_min, 1)
        yield Finding(
            "a connection lives for as long as goAway says",
            "Policy.go_away_margin_min",
            f"it ended {in_seconds(abs(early))} {'before that' if early > 0 else 'after that'}",
            fits,
            unless(fits, go_away_margin_min=margin, go_away_margin_max=max(margin, POLICY.go_away_margin_max)),
        )
    if line.failure is not None:
        verdict = Ended(line.failure, "").verdict(with_handle=True)
        yield Finding(
            "a connection that is too old ends with what reads as: resume now",
            "hook classify_failure and its table",
            f"{line.failure}, read as {verdict.value!r}",
            verdict is Verdict.RESUME_NOW,
        )
