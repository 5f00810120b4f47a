"""As a plugin author does it: the documented examples, and the package of docs/how-to/write-a-plugin.md, are built into
wheels, installed beside resumekit's own wheel into a clean environment, and used there, without a network.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from resumekit.plugins import HOOKS
from resumekit.testing import HandleStoreConformance, LeaseConformance
from tests.examples import example
from tests.installed.support import BUILD, CAN_BUILD, ROOT, clean_environment, make_environment, run, wheel_of

PAGE = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text("utf-8")
FILES = {
    name: text for name, _, text in re.findall(r"^`([\w.]+)`: .*?^(```+)\w+\n(.*?)^\2$", PAGE, re.MULTILINE | re.DOTALL)
}
"""The package of the page: the name of each file stands in front of it."""
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "resumekit-examples"
version = "1.0"
dependencies = ["resumekit"]

[project.entry-points.resumekit]
{entry_points}

[tool.hatch.build.targets.wheel]
packages = ["resumekit_examples"]
"""
OURS = sorted(ROOT.glob("plugins/*"))
"""The plugins of this repository."""
THERE = {"directory", *(plugin.name.removeprefix("resumekit-") for plugin in OURS)}
"""Entry points of packages that are as they should be."""
LACKING = {"otel": "No module named 'opentelemetry'"}
"""Those of them that are imported with what they need, which is not there: the others wait until they are asked."""
BROKEN = {
    "breaks_on_import": "import no_such_module",
    "misspells": "from resumekit.hookspecs import hookimpl\n\n@hookimpl\ndef chose_delay(details): ...",
}

pytestmark = [pytest.mark.slow, CAN_BUILD]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the Python of an environment that holds resumekit, its dependencies and the examples, all installed."""
    folder = tmp_path_factory.mktemp("author")
    project = folder / "resumekit-examples"
    package = project / "resumekit_examples"
    package.mkdir(parents=True)
    modules = {hook: example(hook) for hook in HOOKS} | BROKEN
    for name, source in modules.items():
        (package / f"{name}.py").write_text(source)
    entry_points = "\n".join(f'{name} = "resumekit_examples.{name}"' for name in modules)
    (project / "pyproject.toml").write_text(PYPROJECT.format(entry_points=entry_points))
    page = folder / "resumekit-directory"
    page.mkdir()
    for name, text in FILES.items():
        (page / name).write_text(text)
    wheels = [wheel_of(source, folder / "wheels") for source in (ROOT, project, page, *OURS)]

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    python = make_environment(folder / "clean", project["dependencies"] + project["optional-dependencies"]["testing"])
    run(BUILD / "bin" / "uv", "pip", "install", "--offline", "--no-deps", "--quiet", "--python", python, *wheels)
    return python


@pytest.fixture
def ask(installed, tmp_path):
    """Run a script in the clean environment, away from the working tree; return what it prints as JSON."""

    def ask(script, **environment):
        path = tmp_path / "script.py"
        path.write_text(script)
        return json.loads(run(installed, path, cwd=tmp_path, env={**clean_environment(), **environment}))

    return ask


LIST = """
import json, sys
from resumekit.plugins import installed_plugins
print(json.dumps({plugin.name: [plugin.distribution, plugin.version, plugin.hooks, plugin.error] for plugin in installed_plugins()}))
"""


def test_resumekit_is_the_installed_one_and_brings_what_it_needs(ask):
    where = ask("import json, resumekit.adapters.websockets as it; print(json.dumps(it.__file__))")

    assert "site-packages" in where
    assert not Path(where).is_relative_to(ROOT)


def test_each_hook_is_found_through_its_entry_point_and_broken_ones_say_why(ask):
    found = ask(LIST)

    assert found.keys() == {*HOOKS, *BROKEN, *THERE}
    for hook in HOOKS:
        assert found[hook] == ["resumekit-examples", "1.0", [hook], None]
    for name in THERE - LACKING.keys():
        hooks = ["provide_handle_store", "provide_pool_backend"] if name == "redis" else ["provide_handle_store"]
        assert found[name] == [f"resumekit-{name}", found[name][1], hooks, None]
    for name, error in LACKING.items():
        assert error in found[name][3]
    assert "No module named 'no_such_module'" in found["breaks_on_import"][3]
    assert "did you mean 'choose_delay'?" in found["misspells"][3]


def test_the_environment_variable_limits_what_is_imported(ask):
    script = LIST.replace("print(", "assert 'resumekit_examples.breaks_on_import' not in sys.modules; print(")

    assert list(ask(script, RESUMEKIT_LOAD_PLUGINS="on_event")) == ["on_event"]
    assert ask(script, RESUMEKIT_LOAD_PLUGINS="") == {}


WHEEL = """
import json
from importlib.metadata import distribution
found = distribution("resumekit-PLUGIN")
files = sorted(str(file) for file in found.files if ".dist-info" not in str(file) and ".pyc" not in str(file))
print(json.dumps([found.version, found.requires, files, (found.read_text("METADATA") or "").count("## ")]))
"""


@pytest.mark.parametrize("plugin", OURS, ids=lambda plugin: plugin.name)
def test_the_wheel_of_a_plugin_of_ours_is_what_its_project_says(ask, plugin):
    project = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))["project"]
    version, requires, files, headings = ask(WHEEL.replace("resumekit-PLUGIN", plugin.name))
    package = plugin.name.replace("-", "_")

    assert version == project["version"]
    assert {str(Requirement(one)) for one in requires} == {str(Requirement(one)) for one in project["dependencies"]}
    assert files == sorted(f"{package}/{path.name}" for path in (plugin / package).glob("*.*"))
    assert f"{package}/py.typed" in files
    assert headings >= 4, "install, usage, settings, development"


ASK = """
import asyncio, json
from resumekit import Exactly, Failure, Phase, Policy, RecoveryAction, Side, Verdict, events
from resumekit import DelayDetails, FailureDetails, MoveDetails, RecoveryDetails
from resumekit.plugins import make_decisions
from resumekit.pool import PoolBackend
from resumekit.stores import HandleStore

reported = []
ask = make_decisions(report=reported.append)
policy = Policy()
refused = Failure(phase=Phase.DIAL, side=Side.THEY, status=403, reason="Maintenance")
delay = ask.choose_delay(
    DelayDetails(attempt=4, seconds_down=9.0, verdict=Verdict.RESUME_LATER, retry_after=None, policy=policy)
)
verdict = ask.classify_failure(
    FailureDetails(failure=refused, repeats=0, seconds_down=0.0, with_handle=True, handle_age=1.0,
                   credentials_renewable=False, policy=policy)
)
move = ask.choose_move(
    MoveDetails(time_left=30.0, turn_open=True, pending_calls=1, handle_age=1.0, draw=0.5, policy=policy)
)
recovery = ask.choose_recovery(
    RecoveryDetails(failure=refused, verdict=verdict, handle_age=4000.0, pending_messages=0, transcript=(),
                    transparent=False, model="m")
)
ask.on_event(events.Moving(connection=1, quiet=True))
store = ask.provide_handle_store("dict://")
import resumekit_examples.on_event as listener
print(json.dumps({
    "choose_delay": delay == Exactly(20.0),
    "classify_failure": verdict is Verdict.RESUME_LATER,
    "choose_move": move.deadline == 29.0,
    "choose_recovery": recovery.action is RecoveryAction.FRESH,
    "on_event": listener.seen == {"Moving": 1},
    "provide_handle_store": isinstance(store, HandleStore) and asyncio.run(store.claim("k", "me", 1.0)).entry is None,
    "provide_pool_backend": isinstance(ask.provide_pool_backend("dict://"), PoolBackend),
    "reported": reported,
}))
"""


def test_each_hook_is_asked(ask):
    assert ask(ASK) == {**dict.fromkeys(HOOKS, True), "reported": []}


def test_the_doctor_sees_them(installed, tmp_path):
    doctor = installed.parent / "resumekit"
    done = subprocess.run(
        [doctor, "doctor", "--json"], check=False, capture_output=True, text=True, cwd=tmp_path, env=clean_environment()
    )
    report = json.loads(done.stdout)

    assert done.returncode == 1
    assert sorted(problem.partition(":")[0] for problem in report["problems"]) == sorted({*BROKEN, *LACKING})
    assert {plugin["name"] for plugin in report["plugins"]} == {*HOOKS, *BROKEN, *THERE}


def test_the_package_of_the_page_passes_its_own_test(installed, tmp_path):
    assert sorted(FILES) == ["README.md", "pyproject.toml", "resumekit_directory.py", "test_resumekit_directory.py"]
    (tmp_path / "test_resumekit_directory.py").write_text(FILES["test_resumekit_directory.py"])
    told = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path, env=clean_environment("PYTEST"))
    classes = [HandleStoreConformance, LeaseConformance]
    of_the_kit = [name for kind in classes for name in dir(kind) if name.startswith("test_")]

    assert int(re.search(r"^(\d+) passed", told, re.MULTILINE)[1]) == len(of_the_kit) + 3


PRIVATE = """
import asyncio, json, stat, sys, tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resumekit.plugins import make_decisions
from resumekit.stores import Entry

async def main(url):
    store = make_decisions(report=print).provide_handle_store(url)
    claim = await store.claim("k", "me", 60.0)
    entry = Entry(data=b"a", sequence=1, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert await store.save("k", claim.fence, entry)

folder = Path(tempfile.mkdtemp()) / "handles"
asyncio.run(main(f"directory://{folder}"))
modes = {path.suffix: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
print(json.dumps([oct(stat.S_IMODE(folder.stat().st_mode)), modes[".json"]]))
"""


def test_the_store_of_the_page_keeps_its_files_private(ask):
    assert ask(PRIVATE) == ["0o700", "0o600"]


WRITER = """
import asyncio, random, sys
from datetime import UTC, datetime, timedelta
from resumekit import KeyInUse
from resumekit.stores import Entry
from resumekit_directory import DirectoryStore

async def main(folder, name):
    store, draw, done = DirectoryStore(folder), random.Random(name), 0
    while done < 12:
        try:
            claim = await store.claim("k", name, 0.02)
        except KeyInUse as busy:
            await asyncio.sleep(busy.seconds)
            continue
        await asyncio.sleep(draw.choice([0.0, 0.001, 0.03]))
        before = (await store.claim("seen", name, 600.0, force=True)).fence
        entry = Entry(data=b"%d" % claim.fence, sequence=1, expires_at=datetime.now(UTC) + timedelta(hours=1))
        print(claim.fence, before, int(await store.save("k", claim.fence, entry)))
        done += 1

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_share_the_store_of_the_page_never_overwrite_their_successors(installed, tmp_path):
    """Each claims as soon as it can, sometimes sleeps for longer than its lease, and writes on."""
    (tmp_path / "writer.py").write_text(WRITER)
    command = [installed, tmp_path / "writer.py", tmp_path / "calls"]
    writers = [
        subprocess.Popen([*command, f"{number}"], stdout=subprocess.PIPE, env=clean_environment(), text=True)
        for number in range(4)
    ]
    told = [tuple(map(int, line.split())) for writer in writers for line in writer.communicate()[0].splitlines()]

    assert [writer.returncode for writer in writers] == [0] * 4
    assert len({fence for fence, _, _ in told}) == len(told) == 48, "a fence is given once"
    accepted = [(before, fence) for fence, before, was_kept in told if was_kept]
    assert [fence for _, fence in sorted(accepted)] == sorted(fence for _, fence in accepted)


DAMAGED = """
import asyncio, json, sys
from pathlib import Path
from resumekit import events
from resumekit.testing import ScriptedService

async def main():
    folder = Path("calls").absolute()
    told = []
    async with ScriptedService() as service:
        for key in ("mine", "theirs"):
            async with service.connect(key=key, store=f"directory://{folder}") as session:
                await service.ask(session, key)
            if key == "mine":
                (file,) = folder.glob("*.json")
        file.write_bytes(file.read_bytes()[:30])
        for key in ("mine", "theirs"):
            async with service.connect(key=key, store=f"directory://{folder}", on_event=told.append) as session:
                told.append((await service.ask(session, "again")).turns_held)
    failed = [event.problem for event in told if isinstance(event, events.StoreFailed)]
    print(json.dumps([[one for one in told if isinstance(one, int)], failed]))

asyncio.run(main())
"""


def test_a_damaged_file_costs_its_own_conversation_and_nothing_else(ask):
    turns, (problem,) = ask(DAMAGED)

    assert turns == [1, 2]
    assert problem == "the record cannot be read, so the conversation begins anew: its file is damaged"
