"""Which code numbers depend on: what is reached counts, and how it is drawn or worded does not."""

import shutil

import nbformat
import pytest

from tblib.run import STEPS
from tblib.system import code
from tblib.system.code import code_digest, digest_of, notebook_code, place, reached
from tblib.system.files import ROOT


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Replaces a text in a file of a copy of tblib, whose digests are then taken."""
    shutil.copytree(ROOT / "tblib", tmp_path / "tblib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    caches = (code._module, code._named, code._text)

    def edited(file: str, old: str, new: str) -> None:
        path = tmp_path / "tblib" / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        [cache.cache_clear() for cache in caches]

    [cache.cache_clear() for cache in caches]
    yield edited
    [cache.cache_clear() for cache in caches]


def digests() -> dict[str, tuple[str, str]]:
    """Step -> digests of what its numbers, and of what its page depends on."""
    found = {}
    for step in STEPS:
        cells = nbformat.read(ROOT / "notebooks" / step.notebook, as_version=4).cells
        told = notebook_code(cell.source for cell in cells if cell.cell_type == "code")
        found[step.name] = digest_of(told.numbers), digest_of(told.all, ("report", "system"))
    return found


@pytest.fixture(scope="module")
def before() -> dict[str, tuple[str, str]]:
    """The digests of the code as it is."""
    return digests()


def changed(before: dict[str, tuple[str, str]]) -> tuple[set[str], set[str]]:
    """Steps whose numbers, and steps whose pages are out of date."""
    after = digests()
    return tuple({step for step in before if before[step][i] != after[step][i]} for i in (0, 1))


@pytest.mark.parametrize(("file", "old", "new", "page"), [
    ("eda/colour.py", '"#C0392B"', '"#FF0000"', {"eda"}),
    ("eda/balance.py", "means nothing", "tells nothing", {"eda"}),
    ("show/training.py", "learning rate", "rate", {"training"}),
    ("audit/regions.py", "linewidth=4.5", "linewidth=4", {"shortcuts"}),
    ("show/plots.py", "FONT = 9.0", "FONT = 9.5", set()),  # see below: it is reached by show, which each page calls
])  # fmt: skip
def test_figures_and_words_make_pages_stale_and_no_numbers(edit, before, file, old, new, page):
    edit(file, old, new)
    numbers, pages = changed(before)
    assert numbers == set()
    assert pages == (page or {step.name for step in STEPS})


@pytest.mark.parametrize(("file", "old", "new", "steps"), [
    ("dataset.py", "2 * torch.rand(5", "2.0 * torch.rand(5", {"training", "shortcuts"}),
    ("films/duplicates.py", "CONFIRM = 0.995", "CONFIRM = 0.99", {"eda", "shortcuts"}),
    ("prepare.py", "SHARES = (0.8", "SHARES = (0.7", {"preparation"}),
    ("audit/effects.py", '"flips": 0.0', '"flips": 0.03', {"shortcuts"}),
])  # fmt: skip
def test_code_that_numbers_depend_on_makes_steps_stale(edit, before, file, old, new, steps):
    edit(file, old, new)
    assert steps <= changed(before)[0]
    assert not {"eda", "preparation"} - steps & changed(before)[0] - steps


def test_docstrings_comments_and_layout_count_for_nothing(edit, before):
    edit("dataset.py", '"""Number of films."""', '"""How many films."""')
    edit(
        "train.py",
        "# step size of the group weights in group DRO, as in the paper",
        "# by which weights of groups grow",
    )
    edit("model.py", "import torch\n", "\n\nimport torch\n")
    assert changed(before) == (set(), set())


def test_kept_fits_depend_on_the_network_and_not_on_pictures_nor_on_how_films_are_read(edit):
    before = code_digest("tblib.audit.fits.region")
    edit("films/dicom.py", "def ", "def  ")
    edit("audit/views.py", '"everything"', '"all"')
    assert code_digest("tblib.audit.fits.region") != before  # a region's words stand in the table that it is taken from
    modules = {module for module, _ in reached([place("tblib.audit.fits.region")])}
    assert {"train", "model", "dataset", "audit.views"} <= modules
    assert not {"films.dicom", "show.plots", "audit.regions"} & modules


def test_what_a_function_imports_when_it_is_called_counts():
    assert ("phantoms.lungs", "LungNetwork") in reached([place("tblib.prepare.prepare")])


def test_versions_of_packages_count(monkeypatch):
    before = code_digest("tblib.train.fit")
    monkeypatch.setattr(code, "versions", lambda: {"torch": "0.1"})
    assert code_digest("tblib.train.fit") != before
    for package in ("torch", "numpy", "scikit-learn", "scikit-image", "pillow"):
        assert package in code.NUMERIC


def test_what_is_shown_is_no_computation():
    told = notebook_code([
        "from tblib.eda import colour\nfrom tblib.show.plots import show",
        "spectra = colour.measure(films)\nshow(run, colour.figure(spectra))\nspectra",
    ])  # fmt: skip
    assert told.text == "spectra = colour.measure(films)"
    assert told.numbers == (("eda.colour", "measure"),)
    assert ("eda.colour", "figure") in told.all
