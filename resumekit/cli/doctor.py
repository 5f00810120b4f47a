"""``resumekit doctor``: what is installed, whether it fits, and what is wrong with it."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import platform
import re
import uuid
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resumekit.cli._configs import judge
from resumekit.errors import ConfigurationError
from resumekit.wire import redact

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from resumekit.plugins import Plugin

__all__ = ["HELP", "SUPPORTED", "Finding", "Supported", "add_arguments", "run"]

HELP = """\
Say what is installed, whether resumekit fits it, and what is wrong.

It looks at versions, at the places of google-genai and ADK that resumekit builds on, at plugins and stores, and at the
names of environment variables that matter. Without --store and --probe it dials nothing; it shows no value of a variable. The exit
status is 1 if something would keep a session from working as it should, else 0.

TARGET is a part of your application: a RunConfig, a LiveConnectConfig or a dict, an agent of ADK, an App, a model. Its
module is imported. A config is compared with the model (the agent's, or --model): thresholds of its context window
compression, fields that the model does not have; agents, with what would make them resumable. That gives warnings, which
do not change the exit status.

With --store it opens a handle store as a session would, and claims, writes and releases a key of its own. A URL that holds a
password is better given by the name of an environment variable that holds it.

To report a bug, add the output of `resumekit doctor --json`.

With --probe it asks the real service instead, whose protocol has gaps that resumekit fills with assumptions: it says what
it is going to do, asks whether to go on, measures, tells each assumption that does not hold and where it is used, and
prints the Policy that fits. It needs a key (the environment variables of google-genai; never an argument), takes some
minutes, and costs a few cents. The exit status is 0 if all is as assumed, 1 if something differs, 3 if nothing differs but
a question has no answer, 2 if nothing was asked: no key, no terminal and no --yes, or a "no".

examples: resumekit doctor
          resumekit doctor my_app.agent:root_agent my_app.server:run_config
          resumekit doctor --store sqlite:///calls.db
          resumekit doctor --store CALLS_STORE
          resumekit doctor --probe
          resumekit doctor --probe --yes --only handles --policy measured.py
"""

_Status = Literal["ok", "new", "absent", "warning", "bad"]
_SIGNS: dict[str, str] = {"ok": "ok", "new": "?", "absent": "-", "warning": "!", "bad": "BAD"}


@dataclass(frozen=True)
class Supported:
    """The versions of a package that resumekit is for."""

    least: str
    tested: str
    """The newest major version that the tests run on; a newer one may work."""
    needed_for: str = ""
    """What it is for; empty: for everything."""


SUPPORTED = {
    "msgspec": Supported("0.19", "0"),
    "pluggy": Supported("1.7", "1"),
    "pybase64": Supported("1.4", "1"),
    "tenacity": Supported("8.2.3", "9"),
    "websockets": Supported("13", "17"),
    "google-genai": Supported("1.56", "3", "google-genai (the extra 'genai')"),
    "google-adk": Supported("1.27.2", "2", "Google's ADK (the extra 'adk')"),
    "trustme": Supported("1.2", "1", "demo and emulator over TLS (the extra 'emulator')"),
    "cryptography": Supported("44", "50", "encrypted handle stores (the extra 'encryption')"),
}

_SEAMS = {"google-genai": "_genai_seam", "google-adk": "_adk_seam"}
"""Modules that know what resumekit takes of a package beyond its public names; each has a `check()`."""

_NEWEST_PYTHON = (3, 13)
"""That the tests run on; pip sees to the oldest."""

_VARIABLES = {
    "GOOGLE_API_KEY": "key of the Developer API",
    "GEMINI_API_KEY": "the same; GOOGLE_API_KEY goes before it",
    "GOOGLE_GENAI_USE_VERTEXAI": "Vertex rather than the Developer API",
    "GOOGLE_CLOUD_PROJECT": "project on Vertex",
    "GOOGLE_CLOUD_LOCATION": "region on Vertex",
    "GOOGLE_APPLICATION_CREDENTIALS": "credentials on Vertex",
    "GOOGLE_GEMINI_BASE_URL": "the Developer API is looked for elsewhere, at an emulator for example",
    "GOOGLE_VERTEX_BASE_URL": "Vertex is looked for elsewhere",
    "SSL_CERT_FILE": "certificates that are trusted",
    "SSL_CERT_DIR": "certificates that are trusted",
    "HTTPS_PROXY": "websockets 15 and later go through it",
    "ALL_PROXY": "websockets 15 and later go through it",
    "NO_PROXY": "hosts that are reached directly",
    "RESUMEKIT_LOAD_PLUGINS": "which plugins are loaded",
    "RESUMEKIT_FAST": "0 has every frame take the long way",
    "PYTHONASYNCIODEBUG": "asyncio is in debug mode, and slow",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    status: _Status
    found: str
    remark: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="a part of your application, as module:attribute")
    parser.add_argument("--model", metavar="NAME", help="the model that the configs are for, or that the probe asks")
    parser.add_argument("--store", metavar="URL", help="try this handle store, or that of an environment variable")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    probe = parser.add_argument_group("the probe of the real service")
    probe.add_argument("--probe", action="store_true", help="ask the real service (needs a key, costs a few cents)")
    probe.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    probe.add_argument("--long", action="store_true", help="ask also what takes long: how a connection ends of age")
    probe.add_argument("--only", metavar="NAME,...", help="ask these questions only; a wrong name lists them")
    probe.add_argument("--policy", type=Path, metavar="FILE", help="write the policy that fits into a file, as Python")


def run(arguments: argparse.Namespace) -> int:
    """Look, and print what was found; returns 1 if something is wrong. With ``--probe``, see `HELP`."""
    from resumekit.plugins import LOAD_PLUGINS, installed_plugins

    if arguments.probe:
        from resumekit.cli._probe.report import run as probe

        return probe(arguments)
    if arguments.yes or arguments.long or arguments.only or arguments.policy:
        raise ConfigurationError("--yes, --long, --only and --policy go with --probe")
    logging.getLogger("resumekit").addHandler(logging.NullHandler())  # the report says it
    plugins = installed_plugins()
    report = {
        "packages": list(_packages()),
        **{package: list(_seam(package)) for package in _SEAMS},
        "plugins": [_plugin(plugin) for plugin in plugins],
        "stores": [*_stores(plugins), *([] if arguments.store is None else [_tried(arguments.store)])],
        "application": list(_application(arguments.targets, arguments.model)),
    }
    variables = {name: use for name, use in _VARIABLES.items() if name in os.environ or name.lower() in os.environ}
    problems = [
        f"{finding.name}: {finding.remark}"
        for findings in report.values()
        for finding in findings
        if finding.status == "bad"
    ]
    if arguments.json:
        shown = {part: [asdict(finding) for finding in findings] for part, findings in report.items()}
        print(json.dumps({**shown, "environment": sorted(variables), "problems": problems}, indent=2))
        return int(bool(problems))
    print("Packages")
    _print(report["packages"])
    for package in _SEAMS:
        if report[package]:
            print(f"\n{package} as resumekit uses it")
            _print(report[package])
    which = "is set: only those that it names" if LOAD_PLUGINS in os.environ else "is not set: all that are installed"
    print(f"\nPlugins ({LOAD_PLUGINS} {which})")
    _print(report["plugins"])
    print("\nStores")
    _print(report["stores"])
    print("\nEnvironment variables that are set (their values are not shown)")
    for name, use in variables.items():
        print(f"       {name}: {use}")
    if not variables:
        print("       none that matter")
    if report["application"]:
        print("\nYour application")
        _print(report["application"])
    marked = [finding for findings in report.values() for finding in findings if finding.status in {"bad", "warning"}]
    print("\n" + (_count(marked) or "No problem found."))
    return int(bool(problems))


def _count(marked: list[Finding]) -> str:
    counts = Counter(finding.status for finding in marked)
    words: dict[_Status, str] = {"bad": "problem", "warning": "warning"}
    told = [
        f"{counts[status]} {word}{'s' * (counts[status] > 1)}, marked {_SIGNS[status]} above"
        for status, word in words.items()
        if counts[status]
    ]
    return "; ".join(told)


def _print(findings: list[Finding]) -> None:
    names = max((len(finding.name) for finding in findings), default=0)
    found = max((len(finding.found) for finding in findings), default=0)
    for one in findings:
        print(f"  {_SIGNS[one.status]:<3}  {one.name:<{names}}  {one.found:<{found}}  {one.remark}".rstrip())
    if not findings:
        print("       none")


# ---------------------------------------------------------------------- what is installed


def _packages() -> Iterator[Finding]:
    python = platform.python_version()
    is_new = _numbers(python)[:2] > _NEWEST_PYTHON
    remark = "newer than what resumekit was tested with" if is_new else platform.python_implementation()
    yield Finding("Python", "new" if is_new else "ok", python, remark)
    try:
        yield Finding("resumekit", "ok", version("resumekit"))
    except PackageNotFoundError:
        yield Finding(
            "resumekit", "bad", "not installed", "it runs from a folder: its plugins are not found; pip install it"
        )
    for name, supported in SUPPORTED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            if supported.needed_for:
                yield Finding(name, "absent", "not installed", f"needed for {supported.needed_for}")
            else:
                yield Finding(name, "bad", "not installed", "resumekit needs it")
            continue
        yield _judge(name, found, supported)


def _judge(name: str, found: str, supported: Supported) -> Finding:
    if _numbers(found) < _numbers(supported.least):
        return Finding(name, "bad", found, f"too old: {supported.least} or newer is needed")
    if _numbers(found)[0] > int(supported.tested):
        return Finding(name, "new", found, f"newer than what resumekit was tested with ({supported.tested}.x)")
    return Finding(name, "ok", found)


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else (0,)


def _seam(package: str) -> Iterator[Finding]:
    """Look at what resumekit takes of a package beyond its public names."""
    try:
        version(package)
    except PackageNotFoundError:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own
            importlib.import_module(f"resumekit.adapters.{_SEAMS[package]}").check()
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with it is what the user wants to know
        yield Finding("private names", "bad", "changed", f"{type(error).__name__}: {error}")
    else:
        yield Finding("private names", "ok", "as expected")
        if package == "google-genai":
            yield _fast_receive()


def _fast_receive() -> Finding:
    """Tell whether frames are read the fast way, or by google-genai's own code."""
    switch = importlib.import_module("resumekit.drivers.switch")
    if not switch.fast_lanes():
        return Finding("fast receive", "warning", "off", f"{switch.FAST} is 0: every frame takes the long way")
    typed = importlib.import_module("resumekit.adapters._genai_typed")
    problems: list[str | None] = [typed.problem(vertex=vertex) for vertex in (False, True)]
    reason = next(filter(None, problems), None)
    if reason is None:
        return Finding("fast receive", "ok", "as expected", "reads the same as google-genai")
    return Finding("fast receive", "warning", "off", f"google-genai reads the frames itself, which is slower: {reason}")


def _plugin(plugin: Plugin) -> Finding:
    origin = f"{plugin.distribution} {plugin.version}".strip() or "unknown"
    if plugin.error is not None:
        return Finding(plugin.name, "bad", origin, f"not used: {plugin.error}")
    return Finding(plugin.name, "ok", origin, ", ".join(plugin.hooks))


def _stores(plugins: tuple[Plugin, ...]) -> Iterator[Finding]:
    yield Finding("memory://", "ok", "built in", "kept as long as the process lives")
    yield Finding("sqlite:///", "ok", "built in", "a file that processes of one host share")
    for plugin in plugins:
        if "provide_handle_store" in plugin.hooks:
            yield Finding(plugin.name, "ok", "plugin", "answers for URLs of its own")


def _tried(given: str) -> Finding:
    """Do with a handle store what a session does."""
    url = given if "://" in given else os.environ.get(given, "")
    name = f"{url.partition('://')[0]}://" if "://" in url else given if given.isidentifier() else "--store"
    try:
        if "://" not in url:
            raise ConfigurationError(
                "this is neither a URL, such as 'sqlite:///calls.db', nor an environment variable that holds one"
            )
        asyncio.run(_try(url))
    except ConfigurationError as error:
        return Finding(name, "bad", "cannot be used", str(error))
    except TimeoutError:
        return Finding(name, "bad", "cannot be used", "no answer in time")
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with it is what the user wants to know
        return Finding(name, "bad", "cannot be used", redact(str(error)) or type(error).__name__)
    return Finding(name, "ok", "tried", "a key was claimed, written and released")


async def _try(url: str) -> None:
    from resumekit.adapters._common import store_of
    from resumekit.core.policy import Policy
    from resumekit.plugins import make_decisions
    from resumekit.stores import Entry

    store = store_of(url, make_decisions(report=lambda _: None))
    key = f"resumekit doctor {uuid.uuid4().hex}"
    try:
        async with asyncio.timeout(2 * Policy().store_timeout):
            claim = await store.claim(key, "doctor", 60.0)
            gone = Entry(data=b"", sequence=1, expires_at=datetime.now(UTC))
            if not await store.save(key, claim.fence, gone):
                raise OSError("it refuses what the owner of a key writes")
            await store.release(key, claim.fence)
    finally:
        await store.close()


# ---------------------------------------------------------------------- the application


def _application(targets: Sequence[str], model: str | None) -> Iterator[Finding]:
    for one in judge(targets, model):
        if not one.warnings:
            yield Finding(one.name, "ok", one.what, one.remark)
        for warning in one.warnings:
            yield Finding(one.name, "warning", one.what, warning)
