"""What `resumekit doctor` finds in an application: its configs, its agents, and whether they fit."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from resumekit.errors import ConfigurationError

__all__ = ["Judged", "judge"]


class Judged(NamedTuple):
    """A part of an application."""

    name: str
    what: str
    remark: str = ""
    warnings: Sequence[str] = ()


def judge(targets: Sequence[str], model: str | None) -> Iterator[Judged]:
    """Look at configs, agents and models.

    Args:
        targets: Where each stands, as ``module:attribute``.
        model: Of the configs; None: the models that are among the targets.

    Raises:
        ConfigurationError: A target is not there, or is nothing of the kind, or a config has no model.
    """
    found = {target: _load(target) for target in targets}
    configs = {target: thing for target, thing in found.items() if _is_config(thing)}
    models = [model] if model else []
    for target, thing in found.items():
        if target not in configs:
            judged = list(_models(target, thing))
            if not judged:
                raise ConfigurationError(
                    f"{target!r} is {type(thing).__name__}; doctor looks at a RunConfig, a LiveConnectConfig or a dict,"
                    " an agent, an App, or a model"
                )
            yield from (one for one, _ in judged)
            models += [] if model else [name for _, name in judged if name]
    for target, config in configs.items():
        yield from _config(target, config, models)


def _load(target: str) -> object:
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(f"{target!r} names nothing; write module:attribute, as in my_app.agent:run_config")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # the application's own code, whatever it raises
        raise ConfigurationError(f"cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"{module_name!r} has no {path!r}")
        found = getattr(found, name)
    return found


def _is_config(thing: object) -> bool:
    return isinstance(thing, Mapping) or hasattr(thing, "context_window_compression")


# ---------------------------------------------------------------------- models


def _models(target: str, thing: Any, name: str = "") -> Iterator[tuple[Judged, str]]:
    """Yield what is to be said of an agent and those below it, or of a model; and the models' names."""
    label = f"{target} ({name})" if name else target
    if isinstance(thing, str):
        yield _by_name(label, thing)
    elif hasattr(thing, "sub_agents"):
        if model := getattr(thing, "model", None):  # empty: that of the agent above
            yield from _models(target, model, thing.name)
        for agent in thing.sub_agents:
            yield from _models(target, agent, agent.name)
    elif hasattr(thing, "root_agent"):  # an App
        yield from _models(target, thing.root_agent)
    elif isinstance(model := getattr(thing, "model", None), str):
        yield _by_object(label, thing, model)


def _by_name(label: str, model: str) -> tuple[Judged, str]:
    """A name is what the registry makes of it."""
    registry = getattr(sys.modules.get("google.adk.models"), "LLMRegistry", None)
    try:
        kind = registry.resolve(model) if registry else None
    except ValueError:
        kind = None
    if registry and not _is_ours(kind):
        return Judged(
            label, model, warnings=[f"a model's name: ADK uses its own Gemini; {_CURE}, or call register()"]
        ), model
    return Judged(label, model, "resumable, by register()" if registry else ""), model


def _by_object(label: str, thing: object, model: str) -> tuple[Judged, str]:
    if _is_ours(type(thing)):
        return Judged(label, model, "resumable"), model
    return Judged(label, model, warnings=[f"{type(thing).__name__} is not resumable; {_CURE}"]), model


_CURE = "write model=ResumableGemini(model=...)"


def _is_ours(kind: type[object] | None) -> bool:
    adapter = sys.modules.get("resumekit.adapters.adk")
    return adapter is not None and kind is not None and issubclass(kind, adapter.ResumableGemini)


# ---------------------------------------------------------------------- configs


def _config(target: str, config: object, models: Sequence[str]) -> Iterator[Judged]:
    from resumekit.adapters._advice import advice_on

    if own := _own_model(config):
        models = [own]
    if not models:
        raise ConfigurationError(f"which model is {target!r} for? add --model NAME, or the agent as another target")
    is_vertex = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower() in {"true", "1"}
    for model in dict.fromkeys(models):
        advice = advice_on(config, model, vertex=True if is_vertex else None)
        yield Judged(target, f"{type(config).__name__} for {model}", "fits" if not advice else "", advice)


def _own_model(config: object) -> str:
    """Return the model that a setup names itself."""
    model = cast("Mapping[str, object]", config).get("model") if isinstance(config, Mapping) else None
    return model if isinstance(model, str) else ""
