"""The field's words: none that this project once invented is left where people read."""

import ast
import json
import re
import subprocess

import nbformat
import pytest

from tblib.run import STEPS
from tblib.system.files import ROOT

INVENTED = re.compile(
    r"(?<![a-z])(suspects?|rungs?|ladders?|climb(s|ed|ing)?|den(y|ies|ied|ials?)|cure[sd]?|remed(y|ies|ied)|abroad"
    r"|readings|exhibits?|cautions?|twins?|taught|hangs?[ _]on)(?![a-z])",
    re.IGNORECASE,
)


def invented(text: str) -> list[str]:
    return [found.group(0) for found in INVENTED.finditer(text)]


def words_of(name: str) -> str:
    """A name in its words: ``twin_groups`` and ``TwinGroups`` -> "twin groups"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


def tracked(pattern: str) -> list[str]:
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_words_are_found_where_they_are():
    for text in ("a suspect", "twin_groups", "The Ladder", "taught on", "hangs on", "hang_on", "remedies", "cured"):
        assert invented(words_of(text)) or invented(text), text
    for text in ("reading films", "secure", "between", "twinkle", "incurred", "change on"):
        assert not invented(text), text


def test_file_names():
    names = tracked(".")
    assert len(names) > 100
    assert not [name for name in names if invented(words_of(name))]


@pytest.mark.parametrize("file", tracked("tblib/*.py") or ["tblib"])
def test_public_names_and_prose_of_a_module(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    assert not [name for name in names if invented(words_of(name))]
    docs = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, ast.Module | ast.FunctionDef)]
    assert not invented("\n".join(docs))


def keys(content) -> set[str]:
    """All keys of nested JSON."""
    if isinstance(content, dict):
        return set(content).union(*(keys(value) for value in content.values()))
    return set().union(*(keys(value) for value in content)) if isinstance(content, list) else set()


def test_keys_and_texts_of_artefacts(smoke):
    files = [file for step in STEPS for file in step.writes]
    for file in files:
        if file.endswith(".json"):
            text = smoke.path(file).read_text(encoding="utf-8")
            assert keys(json.loads(text))
            assert not invented(text), file
        elif file.endswith(".csv"):
            assert not invented(smoke.path(file).read_text(encoding="utf-8").splitlines()[0]), file


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not invented(cell.source), cell.source


@pytest.mark.parametrize("file", tracked("*.md"))
def test_readmes(file):
    assert not invented((ROOT / file).read_text(encoding="utf-8"))


def test_the_report(smoke):
    from bs4 import BeautifulSoup

    page = BeautifulSoup(smoke.path("report.html").read_text(encoding="utf-8"), "html.parser")
    assert not invented(page.get_text(" "))
