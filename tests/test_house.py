"""The rules of the house: who may import whom, what is fast, what is shipped, what is never written down."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEST_LINE = (
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[test]' && .venv/bin/pytest"
)


def run(code: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """Stdout of a fresh interpreter, which must end well; it sees no PYTHONPATH but the one given."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked() -> list[Path]:
    """Every file that belongs to the project."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# --- who may import whom -----------------------------------------------------------------------------------


def test_importing_the_whole_engine_brings_in_no_terminal() -> None:
    """Neither directly nor through what it imports from itself; third parties may do as they like."""
    code = """
import builtins, pkgutil, sys
import core

real, forbidden = builtins.__import__, {"textual", "rich", "typer", "ilora_app"}

def watched(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.split(".")[0] == "core" and level == 0 and name.split(".")[0] in forbidden:
        raise AssertionError(f"{importer} imports {name}")
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = watched
names = [module.name for module in pkgutil.walk_packages(core.__path__, "core.")]
assert len(names) > 30, names
for name in names:
    real(name)
print(*(sorted({"textual", "ilora_app"} & set(sys.modules))))
"""
    assert run(code).split() == []


def test_the_engine_names_no_terminal_even_inside_functions() -> None:
    for path in (ROOT / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in {"textual", "rich", "typer", "ilora_app"}, path


FLOORS = (
    ("errors", "files", "hardware", "kinds", "method", "run_time", "safe_text"),
    ("records",),
    ("events",),
    ("stages",),
    ("assets", "config", "evaluation"),
    ("data", "methods", "training"),
    ("encoders", "lm", "results"),
    ("ilora",),
    ("recommenders",),
    ("runs",),
    ("benchmark",),
    ("serving",),
    ("analysis",),
)
"""The rooms of the engine from the foundation up; a room imports itself and what is on lower floors."""


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def test_the_rooms_of_the_engine_import_one_way() -> None:
    floor = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
    wrong, met = [], set()
    for path in sorted((ROOT / "core").rglob("*.py")):
        room = path.relative_to(ROOT / "core").with_suffix("").parts[0]
        if room == "__init__":
            continue
        met.add(room)
        for line, name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            package, *rest = name.split(".")
            if package == "core" and rest and rest[0] != room and floor[rest[0]] >= floor[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert met == set(floor)
    assert not wrong, "\n".join(wrong)


def test_the_rooms_themselves_import_nothing() -> None:
    """Whoever needs one file of a room does not load its neighbours."""
    for path in (ROOT / "core").glob("*/**/__init__.py"):
        assert not list(imported(ast.parse(path.read_text(encoding="utf-8")))), path


@pytest.mark.parametrize(
    "module",
    ["core.config.run_file", "core.data.loading", "core.results.tables", "core.events", "core.methods"],
)
def test_what_needs_no_model_waits_for_no_torch(module: str) -> None:
    run(f"import sys, {module}; assert not {{'torch', 'transformers'}} & set(sys.modules)")


def test_the_checkouts_datasets_folder_does_not_shadow_the_package_of_that_name(tmp_path: Path) -> None:
    """Transformers looks Hugging Face's `datasets` up by name, and the checkout's root may come first."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("MARK = 'the real one'\n")
    found = run("import sys, datasets; print(sys.path[0] == '', datasets.MARK)", PYTHONPATH=str(tmp_path))
    assert found.split(maxsplit=1) == ["True", "the real one\n"]


def test_the_datasets_folder_holds_cards_and_nothing_else() -> None:
    kinds = {path.suffix for path in tracked() if path.is_relative_to(ROOT / "datasets")}
    assert kinds == {".toml"}
    assert not list((ROOT / "datasets").rglob("*.py"))


# --- what stays small --------------------------------------------------------------------------------------

MOST_LINES, MOST_METHODS = 400, 25
"""Of one file, and of one class."""


def test_no_file_and_no_class_grows_beyond_what_one_can_keep_in_mind() -> None:
    files = [path for room in ("core", "ilora_app") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    large = []
    for path in files:
        text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        if (lines := len(text.splitlines())) > MOST_LINES:
            large.append(f"{where} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body)
                if methods > MOST_METHODS:
                    large.append(f"{where}: {node.name} has {methods} methods")
    assert not large, "\n".join(large)


# --- what survives a move ----------------------------------------------------------------------------------


def test_tests_name_what_they_replace_by_import() -> None:
    """A dotted path in a string is found by no tool that moves or renames."""
    for path in (ROOT / "tests").rglob("*.py"):
        found = re.search(r"setattr\(\s*\"(core|ilora_app|tests)\.", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found and found.group()}"


# --- help is instant ---------------------------------------------------------------------------------------

HELP = """
import json, sys
from ilora_app.cli import app, main
commands = [command.name or command.callback.__name__ for command in app.registered_commands]
commands += [group.name for group in app.registered_groups]
arguments = [*sys.argv[1:], "--help"]
try:
    main(arguments)
except SystemExit as done:
    assert not done.code, done.code
print()
print(json.dumps([commands, sorted({name.split(".")[0] for name in sys.modules})]))
"""
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "pandas",
    "numpy",
    "scipy",
    "textual",
    "safetensors",
}


def helped(*arguments: str) -> tuple[str, list[str], set[str]]:
    out = run(HELP, *arguments)
    text, last = out.rstrip("\n").rsplit("\n", 1)
    commands, modules = json.loads(last)
    return text, commands, set(modules)


def test_help_lists_every_command_and_no_help_imports_anything_heavy() -> None:
    text, commands, modules = helped()
    assert {"bench", "data", "models", "results", "recommend"} <= set(commands)
    assert not modules & HEAVY
    for command in commands:
        said, _, imported = helped(command)
        assert not imported & HEAVY, command
        assert "Usage" in said, command
        if command != "engine":
            assert command in text, command


def test_the_version_is_written_down_once() -> None:
    import ilora_app

    said = run("from ilora_app.cli import main; main(['--version'])")
    assert said.split() == ["ilora-app", ilora_app.__version__]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project


def test_no_arguments_show_help() -> None:
    code = "import sys; from ilora_app.cli import main; main([])"
    assert "bench" in run(code)


# --- what is shipped ---------------------------------------------------------------------------------------


def test_a_wheel_installed_elsewhere_knows_its_datasets(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="comes with the test extras")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run([*pip, *build], check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = wheels.iterdir()
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True, cwd=tmp_path)
    assert not list(target.glob("tests"))
    assert not list(target.glob("datasets"))  # it would shadow the package of that name for everyone
    assert (target / "core" / "cards" / "movielens.toml").is_file()
    assert list((target / "ilora_app").rglob("*.tcss")) or not list((ROOT / "ilora_app").rglob("*.tcss"))
    code = (
        "import ilora_app, sys; from ilora_app.cli import main; print(ilora_app.__file__); main(sys.argv[1:])"
    )
    out = run(
        code, "data", "--json", cwd=tmp_path, PYTHONPATH=str(target), ILORA_APP_HOME=str(tmp_path / "home")
    )
    where, text = out.split("\n", 1)
    assert Path(where).is_relative_to(target)
    assert "movielens" in text
    json.loads(text)


def test_the_command_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"ilora-app": "ilora_app.starting:main"}
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


# --- versions ----------------------------------------------------------------------------------------------


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    found = {}
    for line in lines[1:]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line
        name, version = line.split("==")
        found[canonical(name)] = version
    return found


def test_every_dependency_is_pinned_to_a_version_within_its_range() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = pins()
    assert pinned["torch"] == "2.13.0"
    for text in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        requirement = Requirement(text)
        if requirement.name == "pip":  # comes with the environment
            continue
        assert canonical(requirement.name) in pinned, text
        assert requirement.specifier.contains(pinned[canonical(requirement.name)]), text


def test_what_the_dependencies_need_is_pinned_too() -> None:
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    todo = [Requirement(text) for text in direct]
    pinned, seen = pins(), set()
    own_of_gpu_builds = ("nvidia", "cuda", "triton")
    while todo:
        requirement = todo.pop()
        name = canonical(requirement.name)
        if name in seen or name == "pip" or name.startswith(own_of_gpu_builds):
            continue
        seen.add(name)
        assert name in pinned, name
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for text in needed:
            below = Requirement(text)
            extras = requirement.extras or {""}
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(below)


def test_ci_runs_the_readmes_test_line() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("bash")
    assert "set -euo pipefail" in lines
    assert os.access(script, os.X_OK)
    (line,) = [line for line in lines if line.startswith(TEST_LINE)]
    assert line.removeprefix(TEST_LINE).strip() == "|| exit"  # or a failure before the last && goes unnoticed
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README yet")
    assert TEST_LINE in readme.read_text(encoding="utf-8")


# --- what is never written down, and what always is --------------------------------------------------------


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    patterns = {
        "a package index": r"--(extra-)?index-url|/simple\b/?[\"'\s]|find-links",
        "a file address": r"file:/{2,3}\w",
        "a private folder": r"(?<![\w.~}\])\"])/(?:work|root|Users|home)/\w",
    }
    own = Path(__file__)
    for path in tracked():
        if path == own or path.suffix in {".svg", ".png", ".gif"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for what, pattern in patterns.items():
            found = re.search(pattern, text)
            assert found is None, f"{path.relative_to(ROOT)} names {what}: {found and found.group()}"


def test_every_file_of_code_says_in_its_first_line_what_it_is_for() -> None:
    files = [path for path in tracked() if path.suffix == ".py"]
    assert len(files) > 50
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        says = ast.get_docstring(tree)
        assert says, path
        assert tree.body[0].lineno == 1, path
        assert says.splitlines()[0].endswith((".", ":")), path
