"""The layout that the READMEs promise: rooms in one direction, files and functions of a size that can be read."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tblib.system.files import ROOT

TBLIB = ROOT / "tblib"
FILES = sorted(path for path in TBLIB.rglob("*.py") if path.name != "__init__.py")
ORDER = (  # rooms, each of which imports only from rooms before it; those of a level do not import one another
    ("arrays", "system", "devices"),
    ("metrics", "run", "films", "checkpoint", "dataset"),
    ("phantoms", "mitigation", "model", "show"),
    ("catalogue", "prepare", "train"),
    ("eda",),
    ("classifiers",),
    ("evaluate",),
    ("audit",),
    ("predict", "report"),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
TORCHLESS = ("films", "eda", "report")


def room_of(name: str) -> str:
    """The room of a module within tblib: its wing, or itself."""
    return name.split(".")[0]


def imports_of(path: Path) -> set[str]:
    """Modules of tblib that a file imports anywhere, as "audit.study"; the package itself is left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tblib":
            inner = node.module.removeprefix("tblib").removeprefix(".")
            for alias in node.names:
                name = f"{inner}.{alias.name}".removeprefix(".")
                found.add(name if (TBLIB / f"{name.replace('.', '/')}.py").is_file() else inner)
    return found - {""}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(TBLIB).with_suffix("").parts)


ROOMS = {room_of(name_of(path)) for path in FILES}


def test_each_room_has_its_place_in_the_order():
    assert set(LEVEL) == ROOMS


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_only_from_rooms_before_it(path):
    own = room_of(name_of(path))
    for other in {room_of(name) for name in imports_of(path)} - {own}:
        same = LEVEL.get(own) == LEVEL.get(other) and ORDER[LEVEL[own]].index(other) < ORDER[LEVEL[own]].index(own)
        assert LEVEL[other] < LEVEL[own] or same, f"{name_of(path)} imports {other}"


def test_no_files_import_one_another_in_a_circle():
    needs = {name_of(path): imports_of(path) for path in FILES}
    while free := [name for name, others in needs.items() if not others & set(needs)]:
        for name in free:
            del needs[name]
    assert not needs


def test_levels_and_imports_between_rooms_are_few():
    pairs = {(room_of(name_of(path)), room_of(other)) for path in FILES for other in imports_of(path)}
    between = {(room, other) for room, other in pairs if room != other}
    depth: dict[str, int] = {}
    for room in sorted(ROOMS, key=lambda room: (LEVEL[room], ORDER[LEVEL[room]].index(room))):
        depth[room] = 1 + max((depth[other] for one, other in between if one == room), default=0)
    assert max(depth.values()) <= 10
    assert len(between) <= 100


def test_files_and_functions_can_be_read_in_one_go():
    assert len([path for path in TBLIB.iterdir() if path.is_file()]) <= 16
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        assert path.stem == "anatomy" or source.count("\n") <= 450, path.name
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{path.name}: {node.name}"


def test_data_set_cnn_and_training_stand_on_three_small_files():
    core = [TBLIB / f"{name}.py" for name in ("dataset", "model", "train")]
    assert sum(path.read_text(encoding="utf-8").count("\n") for path in core) <= 700
    assert set().union(*(imports_of(path) for path in core)) == {
        "arrays", "checkpoint", "devices", "dataset", "model",
    }  # fmt: skip
    for path in core:
        found = {
            name.split(".")[0] for name in re.findall(r"^(?:import|from) ([\w.]+)", path.read_text(), re.MULTILINE)
        }
        assert found - set(sys.stdlib_module_names) <= {"torch", "numpy", "tblib"}


def test_reading_films_exploring_them_and_reporting_need_no_torch():
    modules = [f"tblib.{name_of(path)}" for path in FILES if room_of(name_of(path)) in TORCHLESS]
    assert len(modules) > 30
    each = "importlib.import_module(name); assert 'torch' not in sys.modules, name"
    code = f"import sys, importlib\nfor name in {modules}: {each}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_readmes_map_every_module_and_notebook():
    rooms, research = ((ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in ("tblib", "notebooks"))
    for path in FILES:
        assert re.search(rf"\b{path.stem}\b", rooms), path.stem
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.stem in research, path.stem


def test_nothing_but_the_readmes_is_tracked_in_data_and_reports():
    tracked = subprocess.run(
        ["git", "ls-files", "data", "reports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(tracked.stdout.split()) <= {"data/README.md", "reports/README.md"}
