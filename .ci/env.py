#!/usr/bin/env python3
"""Make the environments in .venv/ and pin what goes into them. Standard library only.

env.py setup NAME...       make or refresh .venv/NAME from .ci/constraints-NAME.txt
env.py constraints [NAME...]  resolve these environments anew, or all, and write their constraints
env.py test [NAME...]      run the tests of the environments that `make test` covers (but the base)
env.py matrix              run every environment on its Pythons found here, save what `make test` runs

Only uv is installed by pip, with a hash, from .ci/constraints-build.txt; the rest is uv's work. uv does not read
pip's configuration, so its index, certificates and the like are handed on to it, by environment variables.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT / ".ci"
VENVS = ROOT / ".venv"
BIN = "Scripts" if os.name == "nt" else "bin"
BASE = "genai3"
PYTHONS = ["3.11", "3.12", "3.13"]
ENVIRONMENTS = tomllib.loads((CI / "environments.toml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# Only these are built from source: they are pure Python, and have no wheel (pipecat and blockbuster need them).
SDISTS = ["docopt", "forbiddenfruit"]

# pip's settings and what they are called in uv. A variable that is set already wins.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}


class Failure(Exception):
    """Stop with one line."""


def run(*command: str | Path, env: dict[str, str] | None = None, text: str = "") -> None:
    """Run a command silently, with this text as its input; where it fails, show what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=env,
        check=False,
        text=True,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise Failure(f"failed: {' '.join(map(str, command))}")


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one process at a time work on .venv/."""
    VENVS.mkdir(exist_ok=True)
    with (VENVS / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def python_of(venv: Path) -> Path:
    return venv / BIN / "python"


def interpreter(python: str | Path) -> str:
    """Say which interpreter this is, so that another one makes another environment."""
    code = "import sys; print(sys.base_prefix, sys.version)"
    return subprocess.run([python, "-c", code], check=True, text=True, capture_output=True).stdout


def stamp(python: str | Path, *files: Path) -> str:
    """Digest all that an environment is made from."""
    project = {**PROJECT["project"], "version": None, "build-system": PROJECT["build-system"]}
    parts = [str(ROOT), interpreter(python), json.dumps(project, sort_keys=True)]
    parts += [path.read_text("utf-8") for path in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def venv_is_fresh(venv: Path, digest: str) -> bool:
    mark = venv / "resumekit-stamp"
    return mark.exists() and mark.read_text() == digest and python_of(venv).exists()


def uv() -> Path:
    """Return the path of uv, installed by pip into an environment of its own."""
    venv, constraints = VENVS / "build", CI / "constraints-build.txt"
    digest = stamp(sys.executable, constraints)
    if not venv_is_fresh(venv, digest):
        if not importlib.util.find_spec("ensurepip"):
            raise Failure(f"{sys.executable} lacks the modules venv and ensurepip (Debian: apt install python3-venv)")
        shutil.rmtree(venv, ignore_errors=True)
        run(sys.executable, "-m", "venv", venv)
        pip = (python_of(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", constraints)
        (venv / "resumekit-stamp").write_text(digest)
    return venv / BIN / "uv"


def uv_settings() -> dict[str, str]:
    """Return an environment in which uv reaches the package index as pip does."""
    pip = [python_of(VENVS / "build"), "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, check=True, text=True, capture_output=True).stdout
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.").lstrip(".")] = ast.literal_eval(value)
    env = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    for name, variable in PIP_TO_UV.items():
        if name in settings:
            separator = "," if variable == "UV_FIND_LINKS" else " "
            env[variable] = separator.join(settings[name].split())
    return {**env, **{key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}}


def setup(name: str, python: str | Path = sys.executable, directory: str | None = None) -> Path:
    """Make .venv/NAME, unless it is what it should be; return the path of its Python."""
    if name not in ENVIRONMENTS:
        raise Failure(f"no environment {name!r} in .ci/environments.toml")
    venv, constraints = VENVS / (directory or name), CI / f"constraints-{name}.txt"
    build = CI / "constraints-build.txt"
    plugins = [ROOT / "plugins" / plugin for plugin in ENVIRONMENTS[name].get("plugins", [])]
    with lock():
        digest = stamp(python, constraints, build, *(plugin / "pyproject.toml" for plugin in plugins))
        if venv_is_fresh(venv, digest):
            return python_of(venv)
        start = time.monotonic()
        print(f"    making .venv/{venv.name} from .ci/{constraints.name} ...", flush=True)
        tool, env = uv(), uv_settings()
        shutil.rmtree(venv, ignore_errors=True)
        run(tool, "venv", "--quiet", "--python", python, venv, env=env)
        pip = ("--quiet", "--python", python_of(venv), "--build-constraint", build)
        binary = ["--only-binary=:all:", *(f"--no-binary={name}" for name in SDISTS)]
        run(tool, "pip", "sync", *pip, "--require-hashes", *binary, constraints, env=env)
        for project in (ROOT, *plugins):
            run(tool, "pip", "install", *pip, "--no-deps", "--editable", project, env=env)
        (venv / "resumekit-stamp").write_text(digest)
        print(f"    .venv/{venv.name} is ready ({time.monotonic() - start:.0f} s)", flush=True)
    return python_of(venv)


def constraints(names: list[str]) -> None:
    """Resolve these environments anew; without a name all, and the tools that make them."""
    with lock():
        tool, env = uv(), uv_settings()
    for variable in ("UV_INDEX", "UV_FIND_LINKS"):
        env.pop(variable, None)  # a mirror of one machine may hold the files of one Python only, and so too few hashes
    compile_ = (tool, "pip", "compile", "--quiet", "--universal", "--python-version", PYTHONS[0])
    compile_ += ("--generate-hashes", "--no-header", "--upgrade", "--no-emit-index-url")
    compile_ += ("--no-emit-find-links", "--no-emit-build-options")
    if not names:
        run(*compile_, "--group", "build", "--output-file", CI / "constraints-build.txt", env=env)
    for name in names or ENVIRONMENTS:
        environment = ENVIRONMENTS[name]
        options = [f"--extra={extra}" for extra in environment["extras"]]
        options += [f"--group={group}" for group in environment["groups"]]
        output = CI / f"constraints-{name}.txt"
        requires = "\n".join(environment["requires"])
        run(*compile_, "pyproject.toml", "-", *options, "--output-file", output, env=env, text=requires)
        print(f"    .ci/constraints-{name}.txt", flush=True)


def stage(title: str, *command: str | Path) -> None:
    done = subprocess.run([CI / "stage", title, *command], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def run_tests(name: str, python: str | Path, directory: str, *options: str) -> None:
    """Run the tests of one environment in it."""
    setup(name, python, directory)
    pytest = (f".venv/{directory}/{BIN}/python", "-m", "pytest", *os.environ.get("PYTEST", "").split())
    stage(f"tests in {directory}", *pytest, *ENVIRONMENTS[name]["tests"], *options)


def find_python(version: str) -> str | None:
    """Find Python of this minor version: on the path, else among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    name = f"python{version}"
    candidates = [shutil.which(name), *sorted(pyenv.glob(f"{version}.*/bin/{name}"), reverse=True)]
    code = f"import sys, ssl; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in filter(None, candidates):
        if not subprocess.run([candidate, "-c", code], check=False, capture_output=True).returncode:
            return str(candidate)
    return None


def matrix() -> None:
    """Run every environment on its Pythons, save the pairs that `make test` runs."""
    missing = []
    for version in PYTHONS:
        python = find_python(version)
        if python is None:
            missing.append(version)
            continue
        base = version == f"{sys.version_info[0]}.{sys.version_info[1]}"
        for name, environment in ENVIRONMENTS.items():
            if not base and environment.get("pythons") == "base":
                continue
            if "tests" not in environment or (base and environment.get("in") == "test"):
                continue
            if base:
                run_tests(name, sys.executable, name)
            else:  # thousands of schedules run no differently there
                few = ("-m", "not proof and not wide") if name == BASE else ()
                run_tests(name, python, f"{name}-py{version}", *few)
    if missing:
        print(f"\nnot tested: Python {', '.join(missing)} (not found on this machine)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["setup", "constraints", "test", "matrix"])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    match arguments.command:
        case "setup":
            for name in arguments.names or [BASE]:
                setup(name)
        case "constraints":
            constraints(arguments.names)
        case "test":
            for name, environment in ENVIRONMENTS.items():
                if environment.get("in") == "test" and name in (arguments.names or {*ENVIRONMENTS} - {BASE}):
                    run_tests(name, sys.executable, name)
        case "matrix":
            matrix()


if __name__ == "__main__":
    try:
        main()
    except Failure as error:
        sys.exit(f"resumekit: {error}")
