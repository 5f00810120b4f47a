"""What a Live config says that does not fit its model: facts as data, and one function that reads any kind of config.

It imports no framework: a config is a mapping (in either spelling) or an object with attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from resumekit.core.limits import LIMITS

__all__ = ["TARGET_SHARE", "TRIGGER_SHARE", "WINDOWS", "Window", "advice_on", "window_of"]

TRIGGER_SHARE = (0.70, 0.80)
"""Of the context window: where compression should begin. Earlier it throws away what there is room for; later, one long
turn may not fit any more."""
TARGET_SHARE = (0.60, 0.70)
"""Of the context window: what compression should leave. Less forgets much at a time; more has to compress each turn."""


class Window(NamedTuple):
    """The context window of models, in tokens."""

    part: str
    """Stands in the model's name."""
    least: int
    most: int
    """The service's pages give round numbers, and powers of two."""


WINDOWS = (Window("gemini-2.0", 32_000, 32_768), Window("", 128_000, 131_072))
"""The first that fits counts (November 2026)."""


def window_of(model: str) -> Window:
    """Return the context window of a model."""
    name = model.rpartition("/")[2]
    return next(window for window in WINDOWS if window.part in name)


def advice_on(config: object, model: str, *, vertex: bool | None = None) -> list[str]:
    """Return one line for each contradiction between a config and its model, none if all is well.

    Args:
        config: A `RunConfig` of ADK, a `LiveConnectConfig` of google-genai, a mapping, or None.
        model: The model's name.
        vertex: Which backend; None: it is not known, save by a model's name that only Vertex has.
    """
    if model.startswith(("projects/", "publishers/")):
        vertex = True
    return [
        *_on_compression(config, model, vertex=vertex),
        *_on_resumption(config, vertex=vertex),
        *_on_features(config, model),
    ]


def _on_compression(config: object, model: str, *, vertex: bool | None) -> Iterator[str]:
    compression = _look(config, "context_window_compression")
    if compression is None:
        minutes = min(row.seconds for row in LIMITS if row.holds(vertex=bool(vertex), video=False)) / 60
        short = min(row.seconds for row in LIMITS if row.holds(vertex=bool(vertex), video=True)) / 60
        yield (
            f"no context_window_compression: the service ends a session after about {minutes:g} minutes ({short:g} with"
            " video), however often it is resumed; set it for longer ones"
        )
        return
    trigger = _tokens(_look(compression, "trigger_tokens"))
    target = _tokens(_look(compression, "sliding_window", "target_tokens"))
    window = window_of(model)
    if trigger is not None:
        yield from _on_share("trigger_tokens", trigger, TRIGGER_SHARE, window, model)
    if target is not None:
        yield from _on_share("sliding_window.target_tokens", target, TARGET_SHARE, window, model)
        if trigger is not None and target >= trigger:
            yield (
                f"context_window_compression: sliding_window.target_tokens={target} has to be less than"
                f" trigger_tokens={trigger}"
            )


def _on_share(name: str, tokens: int, share: tuple[float, float], window: Window, model: str) -> Iterator[str]:
    least, most = round(share[0] * window.least), round(share[1] * window.most)
    if not least <= tokens <= most:
        yield (
            f"context_window_compression: {name}={tokens} is {tokens / window.least:.0%} of the context window of"
            f" {model!r} ({window.least} tokens); {share[0]:.0%} to {share[1]:.0%} is advised: {least} to {most}"
        )


def _on_resumption(config: object, *, vertex: bool | None) -> Iterator[str]:
    if _look(config, "session_resumption", "transparent") and not vertex:
        where = "the Developer API does not have it" if vertex is False else "only Vertex has it"
        yield f"session_resumption: transparent is set, and {where}"


def _on_features(config: object, model: str) -> Iterator[str]:
    modalities = _modalities(config)
    name = model.rpartition("/")[2]
    if len(modalities) > 1:
        yield f"response_modalities: a Live session has one, not {' and '.join(modalities)}; the service refuses it"
    elif modalities == ["TEXT"] and ("native-audio" in name or name.startswith("gemini-3")):
        yield f"response_modalities: {model!r} answers in AUDIO alone; its text is output_audio_transcription"
    if not name.startswith("gemini-3"):
        return
    proactive = _look(config, "proactivity", "proactive_audio")
    if name.startswith("gemini-3.1") and proactive:
        yield f"proactivity: {model!r} has no proactive audio"
    if name.startswith("gemini-3.8") and proactive is False:
        yield f"proactivity: {model!r} cannot do without proactive audio; leave it out"
    if _look(config, "enable_affective_dialog"):
        yield f"enable_affective_dialog: {model!r} does not have it"


def _modalities(config: object) -> list[str]:
    given: Any = _look(config, "response_modalities") or _look(config, "generation_config", "response_modalities") or []
    if not isinstance(given, list | tuple):
        return []
    named = cast("Sequence[object]", given)
    return list(dict.fromkeys(str(getattr(one, "value", one)).upper() for one in named))


def _look(thing: object, *path: str) -> object:
    """Return what stands at a path of snake_case names; None if there is nothing."""
    found: Any = thing
    for name in path:
        is_mapping = isinstance(found, Mapping)
        found = found.get(name, found.get(_camel(name))) if is_mapping else getattr(found, name, None)
    return found


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def _tokens(number: object) -> int | None:
    """Read a number of tokens; JSON has it as text."""
    try:
        return int(number) if isinstance(number, int | str) else None
    except ValueError:
        return None
