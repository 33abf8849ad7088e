"""The code that numbers depend on: all definitions reachable from a few names, and the packages they use.

Docstrings, comments, layout and modules that compute no numbers (`NO_NUMBERS`) are left out, so that a change of a
colour or a text does not cause a network to be trained again.
"""

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from tblib.system.files import ROOT

NUMERIC = (  # packages whose version affects numbers
    "captum", "imagecodecs", "numpy", "pandas", "pillow", "pydicom", "scikit-image", "scikit-learn", "scipy", "torch",
)  # fmt: skip
NO_NUMBERS = ("report", "show", "system.processes", "system.shortages", "system.schemas", "system.code")
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SHOWN = ("show(", "say(")  # calls in notebooks that output earlier results

Place = tuple[str, str]  # a module within tblib, with dots, and a name defined in it


class NotebookCode(NamedTuple):
    """The code of a notebook's computations; the places in tblib that it uses for them; and all places it uses."""

    text: str
    numbers: tuple[Place, ...]
    all: tuple[Place, ...]


class _Module(NamedTuple):
    """A parsed file: its definitions by name, and local name -> place of its imports at any level."""

    definitions: dict[str, ast.stmt]
    imports: dict[str, Place]


@cache
def versions() -> dict[str, str]:
    """Return package -> version, for all packages that affect numbers."""
    return {package: importlib.metadata.version(package) for package in NUMERIC}


def code_digest(*names: str, packages: bool = True) -> str:
    """SHA-256 of all code reachable from functions such as ``tblib.train.fit``, and of the `packages`' versions."""
    return digest_of((place(name) for name in names), packages=packages)


def digest_of(places: Iterable[Place], ignored: tuple[str, ...] = NO_NUMBERS, packages: bool = True) -> str:
    """`code_digest` from places; modules and subpackages in `ignored` are left out."""
    texts = [f"{module}.{name}\n{_text(module, name)}" for module, name in sorted(reached(places, ignored))]
    texts += [json.dumps(versions(), sort_keys=True)] if packages else []
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def reached(places: Iterable[Place], ignored: tuple[str, ...] = NO_NUMBERS) -> set[Place]:
    """All definitions that these use, directly or indirectly."""
    found: set[Place] = set()
    waiting = list(places)
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or any(f"{module}.".startswith(f"{room}.") for room in ignored):
            continue
        known = _module(module)
        if name in known.definitions:
            found.add((module, name))
            waiting += _named(known.definitions[name], module)
        elif name in known.imports:
            waiting.append(known.imports[name])
        elif name == "*":  # a module passed on as a whole
            waiting += [(module, each) for each in known.definitions]
    return found


def notebook_code(cells: Iterable[str]) -> NotebookCode:
    """Extract the computations of a notebook's cells: no imports, no output, not the last expression of a cell."""
    trees = [ast.parse(cell) for cell in cells]
    imports = {local: at for tree in trees for local, at in _imported(tree)}
    computed: list[ast.stmt] = []
    others: list[ast.stmt] = []
    for tree in trees:
        for statement in tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                shown = statement is tree.body[-1] or ast.unparse(statement).startswith(SHOWN)
                (others if isinstance(statement, ast.Expr) and shown else computed).append(statement)
    numbers = [at for statement in computed for at in _uses(statement, {}, imports, "")]
    shown_too = [at for statement in others for at in _uses(statement, {}, imports, "")]
    text = "\n".join(ast.unparse(statement) for statement in computed)
    return NotebookCode(text, tuple(numbers), (*numbers, *shown_too))


def place(name: str) -> Place:
    """Split a full name: ``tblib.films.film.resized`` -> ("films.film", "resized")."""
    module, _, last = name.removeprefix("tblib.").rpartition(".")
    return module, last


def _is_module(name: str) -> bool:
    return bool(name) and (ROOT / "tblib" / f"{name.replace('.', '/')}.py").is_file()


@cache
def _module(name: str) -> _Module:
    path = ROOT / "tblib" / f"{name.replace('.', '/')}.py"
    if not path.is_file():  # the package itself, with errors and versions
        return _Module({}, {})
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, NAMED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    definitions = {bound: node for node in tree.body for bound in _bound(node)}
    return _Module(definitions, dict(_imported(tree)))


def _imported(tree: ast.AST) -> Iterator[tuple[str, Place]]:
    """Local name and place of everything imported from tblib; modules have the name ``*``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tblib":
            room = node.module.removeprefix("tblib").removeprefix(".")
            for alias in node.names:
                inner = f"{room}.{alias.name}".removeprefix(".")
                yield alias.asname or alias.name, (inner, "*") if _is_module(inner) else (room, alias.name)


def _bound(node: ast.stmt) -> list[str]:
    """Names that a top-level statement defines."""
    if isinstance(node, NAMED):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    return []


@cache
def _named(node: ast.stmt, module: str) -> tuple[Place, ...]:
    known = _module(module)
    return tuple(_uses(node, known.definitions, known.imports, module))


def _uses(node: ast.stmt, definitions: dict[str, ast.stmt], imports: dict[str, Place], module: str) -> Iterator[Place]:
    """Places that a statement uses, as a name or as an attribute of a module."""
    whole: set[ast.expr] = set()  # module names of which only one attribute is used
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            at = imports.get(each.value.id)
            if at and at[1] == "*":
                whole.add(each.value)
                yield at[0], each.attr
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load) and each not in whole:
            if each.id in definitions:
                yield module, each.id
            elif each.id in imports:
                yield imports[each.id]


@cache
def _text(module: str, name: str) -> str:
    """The source of a definition without docstrings, comments and layout."""
    return ast.unparse(_module(module).definitions[name])
