"""Rules that hold for the whole repository: public names, lazy frameworks, nothing of one machine in a file."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "resumekit"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PUBLIC_MODULES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not any(part.startswith("_") for part in module_name(path).split("."))
}


def files_of_the_repository() -> list[Path]:
    """List what is tracked, or will be: everything that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository")
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


# --- public names -------------------------------------------------------------------------------------------------


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Flatten top-level `if` and `try` blocks."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If):
            found += statements(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            found += statements(node.body + node.orelse + [s for h in node.handlers for s in h.body])
        else:
            found.append(node)
    return found


def targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    if isinstance(node, ast.AnnAssign):
        return [node.target]
    return [node.name] if sys.version_info >= (3, 12) and isinstance(node, ast.TypeAlias) else []


def public_names(path: Path) -> set[str]:
    """Collect what a module defines for others; a package also offers what it collects from the modules below it."""
    names: set[str] = set()
    for node in statements(ast.parse(path.read_text("utf-8")).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            inside = node.level or (node.module or "").split(".")[0] == PACKAGE.name
            if inside and path.name == "__init__.py":
                names |= {alias.asname or alias.name for alias in node.names}
        for target in targets(node):
            elements = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            names |= {element.id for element in elements if isinstance(element, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def imported_names(path: Path) -> set[str]:
    """Collect what a module has from other modules of the package: it may offer it as well."""
    found = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    inside = [node for node in found if (node.module or "").split(".")[0] == PACKAGE.name]
    return {alias.asname or alias.name for node in inside for alias in node.names}


def listed_names(path: Path) -> list[str] | None:
    for node in ast.parse(path.read_text("utf-8")).body:
        for target in targets(node):
            if isinstance(target, ast.Name) and target.id == "__all__" and node.value is not None:
                return ast.literal_eval(node.value)
    return None


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_names_are_those_of_dunder_all(name):
    """Private names start with `_`; each public module has `__all__`."""
    listed = listed_names(PUBLIC_MODULES[name])

    assert listed is not None, f"{name} has no __all__"
    assert len(listed) == len(set(listed))
    defined = public_names(PUBLIC_MODULES[name])
    lazy = "def __getattr__(" in PUBLIC_MODULES[name].read_text("utf-8")
    assert defined - set(listed) == set(), "defined, but not in __all__: rename to _name, or list it"
    there = defined | imported_names(PUBLIC_MODULES[name]) | {"__version__"}
    assert lazy or set(listed) <= there, "listed, but not there"


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_names_can_be_had(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "resumekit").startswith("resumekit"):
            raise
        pytest.skip(f"{error.name} is not installed in this environment")

    assert [listed for listed in module.__all__ if not hasattr(module, listed)] == []


PLUGINS = sorted(ROOT.glob("plugins/*"))


def is_public(module: str, name: str) -> bool:
    if f"{module}.{name}" in PUBLIC_MODULES:
        return True
    return module in PUBLIC_MODULES and name in (listed_names(PUBLIC_MODULES[module]) or ())


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_uses_public_names_only(plugin):
    """What a plugin of ours needs, those of others need, too."""
    used = {
        (node.module, alias.name)
        for path in plugin.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE.name
        for alias in node.names
    }

    assert ("resumekit.hookspecs", "hookimpl") in used
    assert {one for one in used if not is_public(*one)} == set()


# --- frameworks are imported by their adapters alone ----------------------------------------------------------------

WITHOUT_GOOGLE = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "google":
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Blocked())
for name in list(sys.modules):
    if name.partition(".")[0] == "google":  # a .pth file of a namespace package may have made it
        del sys.modules[name]
importlib.import_module(sys.argv[1])
print(*(name for name in sys.modules if name.partition(".")[0] == "google"))
"""

NEED_NO_FRAMEWORK = [name for name in PUBLIC_MODULES if not name.startswith(("resumekit.adapters.", "resumekit.cli."))]


@pytest.mark.parametrize("name", NEED_NO_FRAMEWORK)
def test_import_works_without_any_google_package(name):
    """Submodules load lazily, `import resumekit` needs no google package."""
    command = [sys.executable, "-c", WITHOUT_GOOGLE, name]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("module", "above", "kept_out"),
    [
        ("resumekit", "sys", {"websockets"}),
        ("resumekit.adapters.websockets", "websockets.asyncio.client", set()),
    ],
)
def test_what_an_import_brings_along(module, above, kept_out):
    """`import resumekit` is quick: what only sessions need is imported by the first, above what the module stands on.

    That is the engine with its driver, the keeping of handles, plugins, and what these bring.

    Regular expressions are compiled when needed (each takes as long as importing a module), and dataclasses are left to
    tests and commands (each takes as long as twenty Structs).
    """
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IT_BRINGS, module, above], cwd=ROOT, check=True, capture_output=True, text=True
    )

    loaded, compiled, generated = map(str.split, done.stdout.splitlines())
    tops = {name.partition(".")[0] for name in loaded}
    kept_out = kept_out | {"google", "json", "pluggy", "tenacity", "pydantic", "trustme", "pytest"}
    assert {"resumekit.core.policy", "resumekit.core.events", "resumekit.wire.server"} <= set(loaded)
    assert tops & kept_out == set()
    assert set(loaded) & FOR_SESSIONS == set()
    assert compiled == []
    assert generated == []


FOR_SESSIONS = {
    "resumekit.core.conversation",
    "resumekit.core.engine",
    "resumekit.core.inputs",
    "resumekit.core.state",
    "resumekit.drivers.driver",
    "resumekit.drivers.keeper",
    "resumekit.plugins",
    "resumekit.stores",
}

WHAT_IT_BRINGS = """
import dataclasses, importlib, re, sys

importlib.import_module(sys.argv[2])
before, compiled, generated = set(sys.modules), [], []
inner_compile, inner_dataclass = re.compile, dataclasses.dataclass

def note_compile(*args):
    compiled.append(sys._getframe(1).f_globals["__name__"])
    return inner_compile(*args)

def note_dataclass(*args, **options):
    generated.append(sys._getframe(1).f_globals["__name__"])
    return inner_dataclass(*args, **options)

re.compile, dataclasses.dataclass = note_compile, note_dataclass
importlib.import_module(sys.argv[1])
print(*set(sys.modules) - before)
for names in (compiled, generated):
    print(*(name for name in names if name.partition(".")[0] == "resumekit"))
"""


# --- the tree of errors ---------------------------------------------------------------------------------------------


def drawn_tree(docstring: str) -> dict[str, str | None]:
    """Read the tree in the docstring: each error and its parent, by indentation."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        match = re.match(r"( {4}[│├└─ ]*)([A-Z]\w+)( {2,}|$)", line)
        if match:
            column = len(match[1])
            path = [(at, name) for at, name in path if at < column]
            parents[match[2]] = path[-1][1] if path else None
            path.append((column, match[2]))
    return parents


def test_every_error_stands_where_the_tree_in_the_docstring_draws_it():
    """The tree is drawn in the docstring of errors.py, and kept complete."""
    errors = importlib.import_module("resumekit.errors")
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    own = [value for value in classes if value.__module__ == errors.__name__ and issubclass(value, Exception)]

    parents = {value.__name__: next((base.__name__ for base in value.__bases__ if base in own), None) for value in own}
    assert drawn_tree(errors.__doc__) == parents
    assert [name for name, parent in parents.items() if parent is None] == ["ResumekitError"]


# --- nothing of one machine -----------------------------------------------------------------------------------------

# Written in parts, so that this file does not find itself.
HOSTS = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry." + "npmjs",
    "deb." + "debian.org",
    "proxy." + "golang.org",
)
PATHS = ("/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/wo" + "rk/", "/opt/py" + "pi", r"C:\\Us" + "ers")
OF_A_MACHINE = re.compile("|".join([*map(re.escape, HOSTS), *(rf"(?<![\w.$~}}-]){path}" for path in PATHS)]))


def test_no_file_names_a_package_index_or_a_path_of_a_machine():
    """Issue 2: no index host in any file; a clone works wherever it lies."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files_of_the_repository()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        if OF_A_MACHINE.search(line)
    ]
    assert found == []


def test_every_environment_has_its_constraints_and_every_requirement_a_hash():
    tomllib = importlib.import_module("tomllib")
    environments = tomllib.loads((ROOT / ".ci" / "environments.toml").read_text("utf-8"))
    pinned = {path.name for path in (ROOT / ".ci").glob("constraints-*.txt")}

    assert pinned == {f"constraints-{name}.txt" for name in [*environments, "build"]}
    for name in sorted(pinned):
        text = (ROOT / ".ci" / name).read_text("utf-8").replace("\\\n", " ")
        requirements = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert [line for line in requirements if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", line)] == []
