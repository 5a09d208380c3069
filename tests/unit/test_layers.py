"""The shape of the source: layers, seams, sizes and names, read from the syntax trees of all files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "vmm_automation"
#: imports go to a lower level, or stay within one package
LEVELS = {
    "errors": 0, "trace": 0, "model": 0, "site": 0, "schema": 0, "ports": 0, "places": 0, "content": 0,
    "selection": 1, "state": 1, "images": 1, "adapters": 1,
    "operations": 2,
    "ansible": 3, "cli": 3, "__main__": 4,
}  # fmt: skip
#: packages of one level that may be used by another of it
SAME_LEVEL = {("images", "adapters"), ("state", "adapters")}
SEAMS = {
    "libvirt": ["adapters/libvirt.py", "adapters/libvirt_failures.py", "adapters/libvirt_kept.py"],
    "ansible_runner": ["adapters/runner.py"],
    "subprocess": ["adapters/process.py"],
}
BANNED = {"utils", "util", "helpers", "helper", "manager", "handler", "misc", "common"}
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [
    *MODULES,
    *sorted((TOP / "tests").rglob("*.py")),
    *sorted(path for path in (TOP / "scripts").glob("*") if path.is_file()),
]
LINES_OF_A_FILE = 300
LINES_OF_A_FUNCTION = 40


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(TOP).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or inside a function, names of `from` included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "vmm_automation" else ""


def is_below(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_import_goes_downwards(path: Path) -> None:
    """A layer knows only those below it, wherever in the file the import stands."""
    mine = layer(dotted(path))
    for name in imported(path):
        theirs = layer(name)
        if not theirs or theirs == mine or not mine or theirs == "__version__":
            continue
        downwards = LEVELS[theirs] < LEVELS[mine] or LEVELS[mine] == 0 == LEVELS[theirs]
        assert downwards or (mine, theirs) in SAME_LEVEL, f"{dotted(path)} imports {name}"


def test_every_module_has_a_layer() -> None:
    """A new package is placed by whoever adds it."""
    assert {layer(dotted(path)) for path in MODULES} - {""} == set(LEVELS)


def test_imports_have_no_cycle() -> None:
    """No module needs itself, by any way round, lazy imports included."""
    known = {dotted(path) for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        name = dotted(path)
        found = {target if target in known else target.rpartition(".")[0] for target in imported(path)}
        graph[name] = (found & known) - {name}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", SEAMS)
def test_outside_is_reached_in_one_file(module: str) -> None:
    """One file to read, and one to replace, for each thing outside."""
    users = [path for path in MODULES if any(is_below(name, module) for name in imported(path))]
    assert [str(path.relative_to(PACKAGE)) for path in users] == SEAMS[module]


def test_click_printing_and_exiting_stay_in_cli() -> None:
    """Nothing below the command line talks to a terminal or ends the process."""
    for path in MODULES:
        if layer(dotted(path)) in {"cli", "__main__"}:
            continue
        assert not [name for name in imported(path) if is_below(name, "click")], path
        calls = [node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"], path
        assert not [call for call in calls if ast.unparse(call) in {"sys.exit", "exit", "os._exit"}], path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_file_is_small(path: Path) -> None:
    """A file fits a reader's head, and so does a function: docstrings do not count there."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            docstring = ast.get_docstring(node) and (first.end_lineno or 0) - first.lineno + 1
            lines = (node.end_lineno or 0) - node.lineno + 1 - (docstring or 0)
            assert lines <= LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"


def test_names_say_something() -> None:
    """No file and no class is named after having a purpose without telling which."""
    for path in SOURCES:
        words = set(path.stem.lower().replace("-", "_").split("_"))
        assert not words & BANNED, path
        if path.suffix != ".py":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                wrong = [word for word in BANNED if node.name.lower().endswith(word)]
                assert not wrong, f"{path}: class {node.name}"
