"""Dependencies are declared once, in pyproject.toml; the other files only follow."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tblib.system.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
LOCKED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_takes_python_and_pip_from_conda_forge_and_the_rest_from_pyproject():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["channels"] == ["conda-forge"]
    assert content["dependencies"] == [f"python{PROJECT['requires-python']}", "pip", {"pip": ["-e ."]}]
    assert all("#" in line for line in text.splitlines() if line.strip()), "a comment on each line"


def test_every_dependency_is_locked_to_a_version_that_pyproject_allows():
    locked = {normal(name): Version(version) for name, version in LOCKED.items()}
    for text in PROJECT["dependencies"] + EXTRAS:
        requirement = Requirement(text)
        assert normal(requirement.name) in locked, text
        assert locked[normal(requirement.name)] in requirement.specifier, text


def test_every_dependency_says_which_version_is_the_oldest():
    for text in PROJECT["dependencies"] + EXTRAS:
        assert [one.operator for one in Requirement(text).specifier] == [">="], text


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line.split("==")[0].lower())


def test_what_tblib_and_the_notebooks_import_is_declared():
    declared = {normal(Requirement(text).name) for text in PROJECT["dependencies"] + EXTRAS}
    names = {
        "PIL": "pillow",
        "sklearn": "scikit-learn",
        "skimage": "scikit-image",
        "yaml": "pyyaml",
        "bs4": "beautifulsoup4",
    }
    names |= {"mpl_toolkits": "matplotlib"}
    standard = set(__import__("sys").stdlib_module_names) | {"tblib"}
    for path in Path(ROOT / "tblib").glob("*.py"):
        for module in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            if module not in standard:
                assert normal(names.get(module, module)) in declared, f"{path.name} imports {module}"


def test_the_packages_that_were_asked_for_are_there():
    asked = {"torch", "torchvision", "jupyterlab", "pillow", "numpy", "pandas", "scikit-learn", "matplotlib", "seaborn"}
    asked |= {"ipywidgets", "papermill"}
    assert asked <= {Requirement(text).name for text in PROJECT["dependencies"]}
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(">=3.11")


def test_pages_and_makefile_name_the_oldest_python_and_pytorch_that_pyproject_allows():
    python = PROJECT["requires-python"].removeprefix(">=")
    torch = next(text for text in PROJECT["dependencies"] if text.startswith("torch>=")).removeprefix("torch>=")
    assert f"Python {python} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {python} or newer" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"PyTorch ({torch} or newer)" in (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
