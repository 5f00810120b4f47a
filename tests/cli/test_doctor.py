"""``resumekit doctor``: what it says, and that it shows no value of a variable."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from resumekit import plugins
from resumekit.cli import doctor, main
from resumekit.errors import ConfigurationError
from resumekit.plugins import Plugin

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
INSTALLED = {name: supported.least for name, supported in doctor.SUPPORTED.items()} | {"resumekit": "0.1.0"}
INSTALLED["google-adk"] = None  # it is in environments of its own: tests/adk/test_doctor.py


@pytest.fixture
def examine(monkeypatch, capsys):
    """Run the doctor on made-up versions and plugins; returns exit status and what it printed."""
    for name in doctor._VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def examine(*arguments, found=(), **versions):
        installed = INSTALLED | {name.replace("_", "-"): number for name, number in versions.items()}

        def version(name):
            if installed[name] is None:
                raise PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(doctor, "version", version)
        monkeypatch.setattr(plugins, "installed_plugins", lambda: tuple(found))
        status = main(["doctor", *arguments])
        return status, capsys.readouterr().out

    return examine


def line(told, name):
    (found,) = re.findall(rf"^  (\S+) +{re.escape(name)}  +(.*)$", told, re.MULTILINE)
    return found


def test_this_environment_is_well(capsys, monkeypatch):
    pytest.importorskip("google.genai")
    monkeypatch.setenv(plugins.LOAD_PLUGINS, "none")
    monkeypatch.delenv("RESUMEKIT_FAST", raising=False)
    plugins.installed_plugins.cache_clear()
    status = main(["doctor"])
    plugins.installed_plugins.cache_clear()
    told = capsys.readouterr().out

    assert (status, told.rstrip().splitlines()[-1]) == (0, "No problem found."), told
    assert line(told, "private names") == ("ok", "as expected")


def test_fast_lanes_that_are_switched_off_are_told(examine, monkeypatch):
    pytest.importorskip("google.genai")
    monkeypatch.setenv("RESUMEKIT_FAST", "0")
    status, told = examine()

    assert status == 0
    assert re.match(r"off +RESUMEKIT_FAST is 0: every frame takes the long way", line(told, "fast receive")[1]), told


def test_the_least_versions_are_those_of_the_project():
    required = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    least = dict(re.match(r"([\w-]+)>=([\d.]+)$", one).groups() for one in required if ">=" in one)

    assert {name: least[name] for name in doctor.SUPPORTED} == {
        name: supported.least for name, supported in doctor.SUPPORTED.items()
    }
    assert {re.match(r"[\w-]+", one)[0] for one in PROJECT["dependencies"]} == {
        name for name, supported in doctor.SUPPORTED.items() if not supported.needed_for
    }


@pytest.mark.parametrize(
    ("versions", "status", "expected"),
    [
        ({"websockets": "12.0"}, 1, ("BAD", "12.0  too old: 13 or newer is needed")),
        ({"websockets": "13"}, 0, ("ok", "13")),
        ({"websockets": "17.9.1rc1"}, 0, ("ok", "17.9.1rc1")),
        ({"websockets": "18.0"}, 0, ("?", "18.0  newer than what resumekit was tested with (17.x)")),
        ({"websockets": None}, 1, ("BAD", "not installed  resumekit needs it")),
        ({"websockets": "unknown"}, 1, ("BAD", "unknown  too old: 13 or newer is needed")),
    ],
)
def test_versions_are_judged(examine, versions, status, expected):
    got, told = examine(**versions)
    sign, rest = line(told, "websockets")

    assert (got, sign, re.sub(" {2,}", "  ", rest)) == (status, *expected)
    assert told.endswith("\n1 problem, marked BAD above\n" if status else "\nNo problem found.\n")


def test_what_is_optional_may_be_absent(examine):
    status, told = examine(google_genai=None, google_adk=None, trustme=None)

    assert status == 0
    assert "needed for google-genai (the extra 'genai')" in line(told, "google-genai")[1]
    assert "private names" not in told


def test_a_google_genai_that_is_built_otherwise_is_a_problem(examine, monkeypatch):
    pytest.importorskip("google.genai")
    from resumekit.adapters import _genai_seam

    def check():
        raise ConfigurationError("google-genai 9.9 is not known to resumekit")

    monkeypatch.setattr(_genai_seam, "check", check)
    status, told = examine()

    assert status == 1
    assert "google-genai 9.9 is not known" in line(told, "private names")[1]


def test_a_google_genai_that_cannot_be_imported_is_a_problem(examine, monkeypatch):
    adapters = importlib.import_module("resumekit.adapters")
    monkeypatch.setitem(sys.modules, "resumekit.adapters._genai_seam", None)
    monkeypatch.delattr(adapters, "_genai_seam", raising=False)
    status, told = examine()

    assert status == 1
    assert "ModuleNotFoundError" in line(told, "private names")[1]


PATIENT = Plugin(name="patient", distribution="resumekit-patient", version="1.2", hooks=("choose_delay", "on_event"))
REDIS = Plugin(name="redis", distribution="resumekit-redis", version="0.3", hooks=("provide_handle_store",))
BROKEN = Plugin(name="broken", distribution="resumekit-broken", version="0.1", error="OSError: no")


def test_plugins_are_listed_with_their_hooks_and_what_is_wrong(examine):
    status, told = examine(found=[PATIENT, BROKEN])

    assert status == 1
    assert line(told, "patient")[1].split("  ")[-1] == "choose_delay, on_event"
    assert line(told, "broken")[0] == "BAD"
    assert told.count("not used: OSError: no") == 1
    assert told.splitlines()[-1] == "1 problem, marked BAD above"


def test_a_plugin_that_provides_stores_is_listed_with_them(examine):
    status, told = examine(found=[PATIENT, REDIS])

    stores = told.partition("\nStores\n")[2].partition("\n\n")[0]
    assert status == 0
    assert re.findall(r"^  ok +(\S+)", stores, re.MULTILINE) == ["memory://", "sqlite:///", "redis"]


def test_variables_are_named_and_their_values_never_shown(examine, monkeypatch):
    for name in doctor._VARIABLES:
        monkeypatch.setenv(name, "CANARY")
    for arguments in ([], ["--json"]):
        _, told = examine(*arguments)
        assert "CANARY" not in told
        assert all(name in told for name in doctor._VARIABLES)
    _, told = examine()
    assert "Plugins (RESUMEKIT_LOAD_PLUGINS is set: only those that it names)" in told


def test_no_variable_is_said_too(examine):
    assert "none that matter" in examine()[1]


def test_lower_case_proxies_count(examine, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")

    assert "HTTPS_PROXY" in examine()[1]


def test_json_says_the_same(examine):
    status, told = examine("--json", found=[BROKEN], websockets="12.0")
    report = json.loads(told)

    assert status == 1
    assert report["problems"] == ["websockets: too old: 13 or newer is needed", "broken: not used: OSError: no"]
    assert {one["name"]: one["status"] for one in report["packages"]}["websockets"] == "bad"
    parts = {"packages", "google-genai", "google-adk", "plugins", "stores", "application", "environment", "problems"}
    assert set(report) == parts


@pytest.mark.parametrize(("version", "sign"), [("3.13.1", "ok"), ("3.14.0rc1", "?")])
def test_a_newer_python_is_said(examine, monkeypatch, version, sign):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: version)

    assert line(examine()[1], "Python")[0] == sign


# ---------------------------------------------------------------------- the application


APPLICATION = """
good = {"context_window_compression": {"trigger_tokens": 100_000, "sliding_window": {"target_tokens": 80_000}}}
early = {"contextWindowCompression": {"triggerTokens": "50000"}}
setup = {"model": "models/gemini-2.0-flash-live-001", **good}
model = "gemini-live-2.5-flash"
number = 7
class nested:
    config = good
"""


@pytest.fixture
def application(monkeypatch, tmp_path):
    (tmp_path / "an_app.py").write_text(APPLICATION)
    (tmp_path / "a_broken_app.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("an_app", "a_broken_app"):
        sys.modules.pop(name, None)


def section(told):
    return re.sub(" {2,}", "  ", told.partition("\nYour application\n")[2])


def test_a_config_that_fits_its_model_is_said_to(examine, application):
    status, told = examine("an_app:good", "an_app:nested.config", "--model", "gemini-live-2.5-flash")
    assert status == 0
    assert section(told) == (
        "  ok  an_app:good  dict for gemini-live-2.5-flash  fits\n"
        "  ok  an_app:nested.config  dict for gemini-live-2.5-flash  fits\n"
        "\nNo problem found.\n"
    )


def test_a_config_that_contradicts_the_advice_is_a_warning(examine, application):
    status, told = examine("an_app:early", "an_app:model")
    assert status == 0, "it works"
    assert "ok  an_app:model  gemini-live-2.5-flash" in section(told)
    assert (
        "!  an_app:early  dict for gemini-live-2.5-flash  context_window_compression: trigger_tokens=50000 is 39%"
        in section(told)
    )
    assert told.endswith("\n1 warning, marked ! above\n")


def test_a_setup_brings_its_own_model(examine, application):
    _, told = examine("an_app:setup", "an_app:model")
    assert section(told).count("dict for models/gemini-2.0-flash-live-001") == 2
    assert "2 warnings, marked ! above" in told


def test_warnings_are_in_the_json_too(examine, application):
    status, told = examine("--json", "an_app:early", "--model", "gemini-live-2.5-flash")
    report = json.loads(told)
    assert status == 0
    assert [(one["name"], one["status"]) for one in report["application"]] == [("an_app:early", "warning")]
    assert report["problems"] == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("an_app", "'an_app' names nothing; write module:attribute"),
        ("an_app:", "'an_app:' names nothing"),
        ("no_such_app:config", "cannot import 'no_such_app': ModuleNotFoundError"),
        ("a_broken_app:config", "cannot import 'a_broken_app': ZeroDivisionError"),
        ("an_app:nested.nothing", "'an_app' has no 'nested.nothing'"),
        ("an_app:number", "'an_app:number' is int; doctor looks at"),
        ("an_app:good", "which model is 'an_app:good' for? add --model NAME, or the agent as another target"),
    ],
)
def test_a_bad_target_is_told_in_one_line(application, capsys, target, says):
    assert main(["doctor", target]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert (told.err.count("\n"), told.out) == (1, "")


def test_google_genais_own_config_is_looked_at(examine, application, monkeypatch):
    types = pytest.importorskip("google.genai.types")
    examine("an_app:model")
    config = types.LiveConnectConfig(response_modalities=["AUDIO", "TEXT"])
    monkeypatch.setattr(sys.modules["an_app"], "good", config)
    told = section(examine("an_app:good", "an_app:model")[1])
    assert "LiveConnectConfig for gemini-live-2.5-flash  no context_window_compression" in told
    assert "response_modalities: a Live session has one" in told


# ---------------------------------------------------------------------- a store, tried


def test_a_store_that_works_is_told(examine, tmp_path, monkeypatch):
    monkeypatch.setenv("CALLS_STORE", f"sqlite:///{tmp_path}/calls.db")
    for given in (f"sqlite:///{tmp_path}/calls.db", "CALLS_STORE"):
        status, told = examine("--store", given)
        assert status == 0
        assert re.search(r"^  ok +sqlite:// +tried +a key was claimed, written and released$", told, re.MULTILINE)
    assert (tmp_path / "calls.db").exists()


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        ("sqlite:///{}", "sqlite://", "cannot be opened: Is a directory; name a file"),
        ("sqllite:///{}", "sqllite://", "no plugin answers for a store of sqllite://; did you mean sqlite://?"),
        (
            "NO_SUCH_VARIABLE",
            "NO_SUCH_VARIABLE",
            "this is neither a URL, such as 'sqlite:///calls.db', nor an environment variable",
        ),
    ],
)
def test_a_store_that_cannot_be_used_says_why(examine, tmp_path, given, name, told):
    status, report = examine("--store", given.format(tmp_path))

    assert status == 1
    assert re.search(rf"^  BAD +{re.escape(name)} +cannot be used +.*{re.escape(told)}", report, re.MULTILINE)
