"""The hooks: what a plugin can decide, provide or listen to.

A plugin is a module, or an object, with functions that are marked with `hookimpl` and named as one of the hooks below.
Give it to `connect(..., plugins=[plugin])`, or install it with an entry point in the group ``resumekit``. A plugin needs
only the hooks that it has something to say to, and each function only the arguments that it uses.

**Order.** Plugins given to `connect` are asked first, in the order given, then installed ones, then the `Policy` and the
defaults. None means *no opinion*, and the next one is asked; 0 and False are answers. `on_event` is called in all.

**Rules.** Hooks are plain functions, never `async def`, and are called on the event loop: they must neither wait nor
compute for long. What needs I/O is a provider: the hook returns an object whose methods are awaited, with time-outs.
Hooks are asked when something happens to a connection or a turn, never for each frame.

**When a plugin fails.** What raises, or gives an answer that makes no sense, is logged and reported as `HookFailed`,
once for each plugin and hook in a session, and the next opinion is taken; so is a hook that takes longer than
`resumekit.plugins.SLOW`, whose answer is taken. A plugin with a misspelt hook, an unknown argument or an `async def` is
refused: with a `ConfigurationError` if it was given to `connect`, with an error in the log (and in `resumekit doctor`)
if it is an installed one.
"""

from __future__ import annotations

import pluggy

from resumekit.core.events import Event
from resumekit.core.failures import Verdict
from resumekit.core.policy import DelayDetails, Exactly, FailureDetails, Move, MoveDetails, Recovery, RecoveryDetails
from resumekit.pool_backend import PoolBackend
from resumekit.stores import HandleStore

__all__ = [
    "choose_delay",
    "choose_move",
    "choose_recovery",
    "classify_failure",
    "hookimpl",
    "hookspec",
    "on_event",
    "provide_handle_store",
    "provide_pool_backend",
]

hookspec = pluggy.HookspecMarker("resumekit")
"""Marks what this module declares; no plugin needs it."""
hookimpl = pluggy.HookimplMarker("resumekit")
"""Marks a function of a plugin as the implementation of the hook that it is named after."""


@hookspec(firstresult=True)
def provide_handle_store(url: str) -> HandleStore | None:
    """Provide the store for a URL, where the plugin knows its scheme.

    When:
        Once per session that is given `store` as a URL, before it connects.

    Arguments:
        url: As the application gave it; it may hold a password, so it belongs into no log.

    Return:
        An object with the methods of `resumekit.stores.HandleStore`, which may be the same one each time; or None for
        another plugin's URL. Return at once, and connect when a method is first awaited.

    If it raises:
        `connect` raises `ConfigurationError` (the plugin's own, if it is one), as it does where it returns something
        else: the application asked for this store, and must not believe that it has one.

    Default:
        `memory://NAME`: one store per name in this process; `sqlite:///PATH`: a file.

    Added in:
        0.1

    Example:
        ```python
        from resumekit.defaults import MemoryStore
        from resumekit.hookspecs import hookimpl

        STORE = MemoryStore()  # a store of one's own: see "Write a plugin"


        @hookimpl
        def provide_handle_store(url):
            return STORE if url == "dict://" else None
        ```
    """


@hookspec(firstresult=True)
def provide_pool_backend(url: str) -> PoolBackend | None:
    """Provide the backend of a session pool for a URL, where the plugin knows its scheme.

    When:
        Once per `SessionPool` that is given `backend` as a URL, when it is made. Only installed plugins are asked.

    Arguments:
        url: As the application gave it; it may hold a password, so it belongs into no log.

    Return:
        An object with the methods of `resumekit.pool.PoolBackend`, which may be the same one each time; or None for
        another plugin's URL. Return at once, and connect when a method is first awaited. The pool closes it whenever its
        last session has left, and uses it again for the next.

    If it raises:
        `SessionPool` raises `ConfigurationError` (the plugin's own, if it is one), as it does where it returns something
        else: the application asked for a shared quota, and must not believe that it has one.

    Default:
        None; without a backend a pool counts what is in its own process.

    Added in:
        0.1

    Example:
        ```python
        from resumekit.hookspecs import hookimpl
        from resumekit.pool import MemoryPoolBackend

        BACKEND = MemoryPoolBackend()  # one of one's own: what `resumekit.testing.PoolConformance` asks for


        @hookimpl
        def provide_pool_backend(url):
            return BACKEND if url == "dict://" else None
        ```
    """


@hookspec(firstresult=True)
def choose_delay(details: DelayDetails) -> float | Exactly | None:
    """Choose how long to wait before the next dial.

    When:
        Once per failed or lost connection, before the next dial.

    Arguments:
        details: A `DelayDetails`: the attempt, how long the session is down, what the failure means, and the service's
            own hint.

    Return:
        The upper bound of the delay, in seconds: the delay is drawn between zero and it. `Exactly(seconds)` is not
        drawn. Never shorter than the service's hint, or than what keeps ten dials a minute without proof.

    If it raises:
        The next opinion is taken; so it is for a negative or infinite number, NaN, or anything that is no number.

    Default:
        `Policy.first_delay` for the first try after a scheduled or accidental end; else tenacity's exponential wait from
        `Policy.delay_base` to `Policy.delay_cap`.

    Added in:
        0.1

    Example:
        ```python
        from resumekit import Exactly, Verdict
        from resumekit.hookspecs import hookimpl


        @hookimpl
        def choose_delay(details):
            if details.verdict is Verdict.RESUME_LATER and details.attempt > 3:
                return Exactly(20.0)  # the service is in trouble: knock three times a minute
            return None
        ```
    """


@hookspec(firstresult=True)
def classify_failure(details: FailureDetails) -> Verdict | None:
    """Say what a failure means.

    When:
        Once per connection that failed or ended and was not to.

    Arguments:
        details: A `FailureDetails`: what happened (phase, who ended it, close code, HTTP status, reason, exception), how
            often, with which handle.

    Return:
        A `Verdict`. `FATAL` ends the session; `HANDLE_DEAD` gives the handle up and starts fresh from history.

    If it raises:
        The next opinion is taken; so it is for anything that is no `Verdict`.

    Default:
        The first row of `resumekit.core.failures.TABLE` that matches.

    Added in:
        0.1

    Example:
        ```python
        from resumekit import Verdict
        from resumekit.hookspecs import hookimpl


        @hookimpl
        def classify_failure(details):
            failure = details.failure
            if failure.status == 403 and "maintenance" in failure.reason.lower():
                return Verdict.RESUME_LATER  # our proxy's way to say: in a minute
            return None
        ```
    """


@hookspec(firstresult=True)
def choose_move(details: MoveDetails) -> Move | None:
    """Choose when to leave a connection whose end the service has announced.

    When:
        Once per goAway, and once when a session that is to be renewed nears its limit. The session moves at the first
        quiet point at which the next connection is there, or at the deadline, whatever is going on then.

    Arguments:
        details: A `MoveDetails`: the time left, whether a turn is open, the calls that wait for the application, the age
            of the handle, and a random number.

    Return:
        A `Move`: the deadline, and when to dial the next connection ahead, both in seconds from now. A dial ahead that
        fails is repeated, with the backoff of `choose_delay`. With None nothing is dialled ahead, and the session moves
        at the first quiet point.

    If it raises:
        The next opinion is taken; so it is for times that are negative, infinite or no numbers.

    Default:
        A third of the time left is kept as a margin, within `Policy.go_away_margin_min` and `Policy.go_away_margin_max`;
        the next connection is dialled at a random moment in 10-60 % of the time left, unless `Policy.warm_dial` is off:
        thousands of sessions that are told to go at once do not dial at once.

    Added in:
        0.1

    Example:
        ```python
        from resumekit import Move
        from resumekit.hookspecs import hookimpl


        @hookimpl
        def choose_move(details):
            if details.pending_calls and details.time_left is not None:
                return Move(deadline=max(details.time_left - 1.0, 0.0), warm_dial=0.0)  # let the tool finish
            return None
        ```
    """


@hookspec(firstresult=True)
def choose_recovery(details: RecoveryDetails) -> Recovery | None:
    """Choose how a conversation goes on after a loss.

    When:
        Once per connection that failed or ended and was not to, after `classify_failure`, unless that said `FATAL`.

    Arguments:
        details: A `RecoveryDetails`: the failure and what it means, the age of the handle (None: there is none), how
            many messages wait, and the conversation so far.

    Return:
        A `Recovery`: `RESUME` with the handle; `FRESH` with these turns of history (None: the application's own, or what
        was heard); `SETTLE`, which resumes and ends the answer that was cut; or `FAIL`. Without a handle, `RESUME` and
        `SETTLE` start fresh. What is sent again follows from that: all that the handle, or the history, does not hold.

    If it raises:
        The next opinion is taken; so it is for an unknown action, or turns that are no `HistoryTurn`s.

    Default:
        `RESUME` where there is a handle, else `FRESH`.

    Added in:
        0.1

    Example:
        ```python
        from resumekit import Recovery, RecoveryAction
        from resumekit.hookspecs import hookimpl


        @hookimpl
        def choose_recovery(details):
            if details.handle_age is None or details.handle_age > 3600:
                newest = details.transcript[-6:]  # an old state is dear to restore, and three questions are enough
                return Recovery(action=RecoveryAction.FRESH, turns=newest)
            return None
        ```
    """


@hookspec
def on_event(event: Event) -> None:
    """Listen to what happens to the session.

    When:
        Once per event (see the reference of events), in the order in which they happen, before the application's own
        `on_event`.

    Arguments:
        event: One of `resumekit.events`. It holds no secret and no content.

    Return:
        Nothing.

    If it raises:
        The others are called all the same.

    Default:
        None; each event is logged whether or not somebody listens.

    Added in:
        0.1

    Example:
        ```python
        from collections import Counter
        from resumekit.hookspecs import hookimpl

        seen = Counter()


        @hookimpl
        def on_event(event):
            seen[type(event).__name__] += 1
        ```
    """
