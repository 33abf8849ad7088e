"""Figures are SVG that needs nothing else, can be read by anyone, carry alt texts, and say SYNTHETIC where needed."""

import base64
import io
import re
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tblib.audit import baselines, colour, edit_effects, first_figure, hospitals, matched, power, regions, verdicts
from tblib.audit.choice import LABEL
from tblib.audit.effects import Effect
from tblib.dataset import Augmentation, TBDataset
from tblib.eda import balance, prevalence, sample, tone
from tblib.eda import colour as spectra
from tblib.films.database import open_database
from tblib.metrics import Estimate
from tblib.run import usable
from tblib.show import evaluation, plots, preparation, training

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("Normal", "Tuberculosis")
DECORATION = {"#ffffff", "#cccccc", "#b0b0b0"}  # paper and grid lines
SAYS = re.compile(
    r"\b(is|are|has|have|can|do|does|differ|differs|rests|moves|move|makes|misses|ranks|lies|reach|uses|used|finds|separates|"
    r"outlined|prepared|sees|score|carry|grows|say)\b"
)


class Shown(NamedTuple):
    """A figure of an executed notebook."""

    notebook: str
    alt: str
    width: int
    svg: ElementTree.Element
    text: str

    @property
    def words(self) -> list[str]:
        """All text in it; glyphs are paths, and matplotlib writes what they say as a comment."""
        return re.findall(r"<!-- (.*?) -->", self.text)


def image_of(html: str):
    """The one image in a piece of HTML, and its SVG."""
    image = BeautifulSoup(html, "html.parser").img
    return image, base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")).decode()


def with_comments(text: str) -> ElementTree.Element:
    """An SVG whose comments are kept, as they say what glyphs do."""
    return ElementTree.fromstring(text, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))


@pytest.fixture(scope="module")
def shown(smoke) -> list[Shown]:
    """All figures of the smoke run's notebooks."""
    import nbformat

    found = []
    for path in sorted(smoke.path("notebooks").glob("0*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                html = output.get("data", {}).get("text/html", "")
                if html.startswith("<img"):
                    image, text = image_of(html)
                    found.append(Shown(path.name, image["alt"], int(image["width"]), with_comments(text), text))
    return found


def contrast(colour: str, other: str = "#ffffff") -> float:
    """Contrast of two colours as WCAG 2.2 defines it, 1 to 21."""
    brighter, darker = sorted((_luminance(colour), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    share = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.fixture
def displayed(monkeypatch):
    """What a notebook would get of each figure: its output."""
    got = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: got.append(data))
    return got


def test_films_with_drawn_lesions_say_so_in_a_batch_and_in_words():
    films = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)
    data = TBDataset(films, np.array([0, 0, 0, 1, 1, 1, 1, 1]), torch.device("cpu"))
    told = {"negative": "N", "positive": "T", "parts": {"train": {"N": 3, "T": 2}}, "mean": 1.0, "sd": 1.0}
    split = pd.DataFrame({"duplicate_group": range(5), "part": "train"})
    assert "SYNTHETIC" not in preparation.finding(told, split)
    assert set(training.batch(data, told, Augmentation(), "black", 8, 0)[1]) == {"N", "T"}
    told["drawn"] = {"films": 3}
    shown, names = training.batch(data, told, Augmentation(), "black", 8, 0)
    assert {name: names.count(name) for name in set(names)} == {"N": 3, "T": 2, "T, SYNTHETIC lesions": 3}
    assert "3 T, SYNTHETIC lesions" in training.batch_figure(shown, names).get_label()
    assert "In training 3 films of N are also seen with SYNTHETIC lesions" in preparation.finding(told, split)


def test_an_alt_text_goes_with_the_picture_and_synthetic_films_are_stamped(displayed):
    counts = {"Normal": 500, "Tuberculosis": 100}
    plots.display_figure(balance.figure(counts), synthetic=False)
    plots.display_figure(balance.figure(counts), synthetic=True)
    (plain, plain_svg), (stamped, stamped_svg) = (image_of(one["text/html"]) for one in displayed)
    assert plain_svg.startswith("<svg ")
    assert "<!-- SYNTHETIC -->" in stamped_svg
    assert "<!-- SYNTHETIC -->" not in plain_svg
    assert "Normal 500, Tuberculosis 100" in plain["alt"]
    assert "SYNTHETIC" not in plain["alt"]
    assert stamped["alt"] == f"SYNTHETIC films. {plain['alt']}"
    assert displayed[0]["text/plain"] == plain["alt"]


def test_the_same_figure_is_the_same_text_and_a_page_knows_its_size(displayed):
    for _ in range(2):
        plots.display_figure(balance.figure({"Normal": 5, "Tuberculosis": 1}), synthetic=False)
    assert displayed[0] == displayed[1]
    image, _ = image_of(displayed[0]["text/html"])
    assert 500 < int(image["width"]) < 96 * plots.WIDTH
    assert 100 < int(image["height"]) < 200


def test_what_cannot_be_plotted_is_said_in_a_sentence(displayed):
    plots.show(type("Run", (), {"synthetic": True}), "No film is <b>tinted</b> & so on.")
    assert displayed[0]["text/plain"] == "No film is <b>tinted</b> & so on."
    paragraph = BeautifulSoup(displayed[0]["text/html"], "html.parser").p
    assert paragraph.text == "No film is <b>tinted</b> & so on."
    assert not paragraph.b


def test_a_film_in_a_figure_is_a_small_picture_in_the_units_of_the_film():
    figure, (ax,) = plots.tiles(1, 4, "A film.")
    plots.draw_film(ax, np.full((900, 600), 77, np.uint8), "a film")
    assert ax.get_xlim() == (-0.5, 599.5)
    assert ax.get_ylim() == (899.5, -0.5)
    text = plots.svg(figure)
    inside = re.findall(r'xlink:href="data:image/png;base64,([^"]+)"', text)
    film = Image.open(io.BytesIO(base64.b64decode(inside[0])))
    assert (film.mode, max(film.size)) == ("L", plots.FILM)
    assert film.getextrema() == (77, 77)


def test_a_figure_shows_the_numbers_it_is_given():
    history = pd.DataFrame({"epoch": [1, 2, 3], "lr": 1e-3, "val_loss": [0.5, 0.2, 0.3]})
    history = history.assign(
        **dict.fromkeys(("train_loss", "train_accuracy", "val_accuracy", "train_f1", "val_f1"), 0.5)
    )
    figure = training.figure(history)
    assert "kept: epoch 2" in figure.get_label()
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), [0.5, 0.2, 0.3])  # validation


def test_every_picture_of_a_run_says_synthetic_and_has_an_alt_text_that_begins_with_what_it_shows(shown):
    assert len(shown) >= 25
    for one in shown:
        assert one.alt.startswith("SYNTHETIC films. "), one.notebook
        said = one.alt.removeprefix("SYNTHETIC films. ")
        first = re.split(r"\. (?=[A-Z])", said)[0]
        assert len(said) > 40, said
        assert SAYS.search(first) or re.match(r"\d+ films: ", said), first
        assert "SYNTHETIC" in one.words
        assert 200 < one.width <= 96 * plots.WIDTH + 30, said


def test_figures_of_a_report_need_nothing_else_and_run_nothing(smoke, shown):
    for one in shown:
        for node in one.svg.iter():
            assert str(node.tag).removeprefix(SVG) not in ("script", "foreignObject", "metadata"), one.alt
            for name, value in node.attrib.items():
                assert not name.startswith("on")
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png;base64,")), value[:40]
        assert not re.search(r"url\((?!#)", one.text)
        assert "<text" not in one.text  # glyphs are paths
    report = BeautifulSoup(smoke.path("report.html").read_text(encoding="utf-8"), "html.parser")
    kept = [image for image in report.select("section.chapter img") if image["src"].startswith("data:image/svg+xml")]
    assert [image["alt"] for image in kept if image["alt"].startswith("SYNTHETIC")] == [one.alt for one in shown]
    assert all(image["width"].isdigit() and image["height"].isdigit() for image in kept)


def numeric_axes(one: Shown):
    """Groups of the axes of a figure whose ticks are numbers; a figure of films has none."""
    for group in one.svg.iter(f"{SVG}g"):
        if group.get("id", "").startswith("matplotlib.axis"):
            ticks = [tick for tick in group if "tick_" in tick.get("id", "")]
            words = [node.text.strip() for tick in ticks for node in tick.iter() if node.tag is ElementTree.Comment]
            if any(re.fullmatch(r"[−\d.]+|\$.*\$", word) for word in words):
                yield group


def test_every_axis_with_numbers_says_what_they_are(shown):
    axes = 0
    for one in shown:
        if "<image" in one.text and not any(word.startswith("n =") for word in one.words):
            continue
        labels = " ".join(one.words)
        for group in numeric_axes(one):
            axes += 1
            named = [child for child in group if child.get("id", "").startswith("text_")]
            others = [word for word in ("dose", "hue") if word in labels]  # the label of all panels, or the title
            assert named or others or "called (n" in labels, one.alt
    assert axes >= 30


def test_every_figure_without_films_gives_the_number_of_films(shown):
    for one in shown:
        if "<image" not in one.text:
            assert any(re.search(r"n [=≤] ?\d|\(n = |^n$|n =", word) for word in one.words), one.alt


def test_marks_and_lines_are_seen_on_white(shown):
    """Fills that are transparent carry no meaning of their own: their outline does."""
    seen = set()
    for one in shown:
        if "<image" in one.text or "misses" in one.alt:  # films; and a table of counts, whose shades go with numbers
            continue
        for style in re.findall(r'style="([^"]*)"', one.text):
            if "opacity" not in style:
                seen |= {
                    (kind, value, one.alt[:80]) for kind, value in re.findall(r"(fill|stroke): (#[0-9a-f]{6})", style)
                }
    for _, value, alt in seen:
        assert value in DECORATION or contrast(value) >= 3, (value, alt)


@pytest.mark.parametrize("colours", [
    {str(place): colour for place, (colour, _) in enumerate(plots.SERIES)} | {"ink": plots.INK},
    verdicts.COLOURS,
    {str(place): colour for place, (colour, _) in colour.LOOKS.items()},
])  # fmt: skip
def test_colours_of_series_and_verdicts_can_be_read_as_text_and_are_of_no_class(colours):
    for name, value in colours.items():
        assert contrast(value) >= 4.5, name
        assert value.upper() not in plots.CLASSES
    assert all(contrast(value) >= 3 for value in plots.CLASSES)


def test_verdicts_are_told_apart_without_colour_and_none_looks_safe():
    assert set(verdicts.COLOURS) == set(verdicts.MARKS) == set(verdicts.MEANING)
    assert len(set(verdicts.MARKS.values())) == len(verdicts.MARKS)
    for value in verdicts.COLOURS.values():
        red, green, blue = (int(value[i : i + 2], 16) for i in (1, 3, 5))
        assert not (green > 1.15 * red and green > 1.15 * blue), value
    shades = {name: _luminance(value) for name, value in verdicts.COLOURS.items()}
    greys = [
        name for name, value in verdicts.COLOURS.items() if np.ptp([int(value[i : i + 2], 16) for i in (1, 3, 5)]) < 30
    ]
    for one, other in combinations(greys, 2):
        assert abs(shades[one] - shades[other]) > 0.1, (one, other)


def test_class_colours_stand_for_classes_alone(shown):
    for one in shown:
        used = [name for name, value in zip(NAMES, plots.CLASSES, strict=True) if value.lower() in one.text]
        for name in used:
            assert any(name in word for word in one.words), one.alt
    assert sum(plots.BLUE.lower() in one.text for one in shown) >= 6


@pytest.mark.parametrize(("shape", "kind"), [((1, 32, 32), "grey"), ((1, 32, 32, 3), "RGB")])
def test_prepared_films_are_called_what_they_are(shape, kind, demo):
    database = open_database(demo)
    shown = sample.pick(database, sample.uncatalogued(database), 1, 0)[:1]
    figure = sample.before_after_figure(shown, np.zeros(shape, np.uint8))
    assert figure.axes[1].get_title() == f"{kind}, 32 px"
    assert figure.get_label().endswith(f"32×32 {kind}.")


def test_names_of_files_are_shown_as_they_are():
    assert plots.short("a/b/Normal-1.png") == "Normal-1"
    assert len(plots.short("a" * 60 + ".png")) == 18


def test_a_name_in_a_figure_is_no_formula_and_stays_in_the_legend():
    """As mathtext "$_$" would be an error, and a logarithmic scale needs it for its powers of ten."""
    names = ("_x_", "a$_$b")
    table = pd.DataFrame({"cue": ["$^$"] * 2, "label": names, "share": [0.2, 0.4], "low": 0.1, "high": 0.5})
    figure = prevalence.figure(table.assign(odds_ratio=2.0, odds_low=0.5, odds_high=20.0), names)
    data, _ = plots.picture(figure, synthetic=True)
    assert Image.open(io.BytesIO(data)).width > 500
    left, right = figure.axes
    texts = [text.get_text().strip() for text in figure.legends[0].get_texts()]
    assert texts == [*names, "1: equally common"]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["$^$"]
    assert not any(text.get_parse_math() for text in left.findobj(Text))
    assert all(tick.get_parse_math() for tick in right.get_xticklabels())


def drawn_from(run) -> dict[str, Figure | str]:
    """Figures that stored results of a run are enough for."""
    metrics, found = run.facts("metrics.json"), run.facts("shortcuts.json")
    test, films = run.table("predictions.csv").query("part == 'test'"), usable(run.table("catalogue.csv"))
    edits = {name: effects_from(one) for name, one in found["edits"].items()}
    return {
        "summary": first_figure.figure(found),
        "ranking": evaluation.ranking_figure(test, metrics),
        "calibration": evaluation.calibration_figure(test, metrics),
        "confusion": evaluation.confusion_figure(metrics["operating_points"], NAMES),
        "baselines": baselines.figure(found, metrics["majority_accuracy"]),
        "regions": regions.figure(found, found["region_ablation"]),
        "verdicts": verdicts.figure(found),
        "edits": edit_effects.figure(edits),
        "doses": edit_effects.doses_figure(edits),
        "power": power.figure(found["planted"]),
        "matched": matched.figure(found["matched"]),
        "split": preparation.figure(run.table("split.csv")),
        "history": training.figure(run.table("history.csv")),
        "prevalence": prevalence.figure(prevalence.measure(films, NAMES), NAMES),
        "grey": tone.grey_figure(films, NAMES),
        "tint": spectra.tint_figure(films, NAMES),
        "modes": spectra.modes_figure(films, NAMES),
    }


def effects_from(one: dict) -> edit_effects.CueEffects:
    """Effects as they stand in ``shortcuts.json``."""

    def effect(told: dict | None) -> Effect | None:
        return told and Effect(
            told["n"], Estimate(**told["mean"]), told["shift"], tuple(told["references"]), Estimate(**told["flips"])
        )

    ways = (effect(one[way]) for way in ("sufficiency", "necessity", "both"))
    return edit_effects.CueEffects(one["towards"], *ways, doses=one.get("doses") and tuple(one["doses"]))


@pytest.fixture(scope="module")
def made(smoke) -> dict[str, Figure]:
    """Those of the smoke run that are no sentence."""
    return {name: figure for name, figure in drawn_from(smoke).items() if isinstance(figure, Figure)}


def test_figures_fit_a_page_and_have_letters_that_can_be_read(made):
    assert len(made) >= 14
    for name, figure in made.items():
        assert len(figure.get_label()) > 30, name
        assert figure.get_figwidth() <= plots.WIDTH, name
        plots.svg(figure)  # places the ticks
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text():
                assert text.get_fontsize() >= 9, (name, text.get_text())


def test_effects_are_positive_towards_the_class_that_the_cue_goes_with():
    def effects(towards: float) -> edit_effects.CueEffects:
        rows = (
            {"dose": 0.5, "n": 9, "mean": -1.0, "low": -2.0, "high": -0.5},
            {"dose": 1.0, "n": 9, "mean": -2.0, "low": -3.0, "high": -1.5},
        )
        return edit_effects.CueEffects(towards, doses=rows)

    figure = edit_effects.doses_figure({"marker": effects(-1.0), "tint": effects(1.0)})
    marker, tint = (ax.lines[0].get_ydata() for ax in figure.axes[:2])
    np.testing.assert_array_equal(marker, [1.0, 2.0])  # goes with the negative class, and so does the effect
    np.testing.assert_array_equal(tint, [-1.0, -2.0])
    assert "For 1 of 2 cues the effect grows with the dose" in figure.get_label()


def test_many_planted_cues_at_one_strength_do_not_overlap():
    used = {"value": 0.8, "low": 0.4, "high": 0.9}
    curve = [{"cue": f"cue {i}", "p": 0.8, "n": 6, "used": used, "auroc": 0.9} for i in range(7)]
    control = {"control": "shuffled labels", "trainings": 3, "tests": 30, "used": used | {"value": 0.1}, "auroc": 0.5}
    figure = power.figure({"curve": curve, "controls": [control], "source": "this run"})
    heights = [line[0, 1] for line in figure.axes[0].collections[0].get_segments()]
    assert len(set(heights)) == 7
    assert "The audit finds 0 of 7 planted cues reliably and raises 3 false alarms" in figure.get_label()


def test_a_single_film_is_marked_in_a_histogram():
    _, (ax,) = plots.panels("A.", 1, (5, 2))
    plots.draw_counts(ax, [np.array([2000, 0, 1]), np.array([0, 3, 0])], np.arange(4.0), NAMES)
    marks = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "|"]
    assert marks == [[0.5, 2.5], [1.5], []]
    assert [line.get_label() for line in ax.lines][-1] == plots.FEW
    axes = evaluation.calibration_figure(*films_scored()).axes
    assert axes[2].get_yscale() == "log"
    assert axes[2].get_ylim()[0] < 1


def films_scored() -> tuple[pd.DataFrame, dict]:
    """Eight scored films and what a calibration figure takes of their metrics."""
    test = pd.DataFrame({"target": [0, 1] * 4, "label": NAMES * 4, "probability": np.linspace(0.1, 0.9, 8)})
    error = {"ece": {"value": 0.1}}
    return test.assign(calibrated=test["probability"], duplicate_group=range(8)), error | {
        "calibration": {"before": error}
    }


def test_bands_hold_their_curve_and_narrow_with_more_films():
    rng = np.random.default_rng(0)
    widths = []
    for films in (60, 600):
        target = rng.integers(0, 2, films)
        test = pd.DataFrame({"target": target, "probability": rng.normal(target, 1), "duplicate_group": range(films)})
        for _, (value, low, high) in evaluation._curves(test, 200):
            assert (low <= value + 0.05).all()
            assert (value <= high + 0.05).all()
        (_, (_, low, high)), _ = evaluation._curves(test, 200)
        widths.append(float((high - low).mean()))
    assert widths[1] < 0.6 * widths[0]


def summary_of(found: dict, **changes) -> Figure:
    return first_figure.figure(found | changes)


def test_the_first_figure_says_it_in_a_sentence_with_and_without_other_hospitals(smoke):
    found = smoke.facts("shortcuts.json")
    alone = summary_of(found, external={"sets": []})
    names = [tick.get_text() for tick in alone.axes[0].get_yticklabels()]
    assert names[0] == "The model: whole films"
    assert "Small CNN: lungs painted over" in names
    assert alone.get_label().startswith("Small CNNs that see no lung ")
    other = {"set": "elsewhere", "auroc": {"value": 0.41, "low": 0.3, "high": 0.52}}
    elsewhere = summary_of(found, external={"sets": [other] * 5})
    names = [tick.get_text() for tick in elsewhere.axes[0].get_yticklabels()]
    assert 4 <= len(names) <= 6
    assert names[-1] == "The model: elsewhere*"
    assert elsewhere.axes[0].get_xlim()[0] < 0.3
    assert "on other hospitals' films the model has 0.410 on elsewhere" in elsewhere.get_label()
    inverted = summary_of(found, cnn=found["cnn"] | {"auroc": {"value": 0.2, "low": 0.02, "high": 0.3}})
    assert inverted.axes[0].get_xlim()[0] < 0.1


def test_the_first_figure_marks_films_on_which_settings_were_chosen():
    area = {"value": 0.9, "low": 0.85, "high": 0.95}
    blind = {"region": "outside the lungs", "mean": 0.8, "low": 0.7, "high": 0.9}
    sets = [{"set": name, "auroc": area, "chose": name in ("b", "c")} for name in "bcad"]
    figure = first_figure.figure({"region_ablation": [blind], "cnn": {"auroc": area}, "external": {"sets": sets}})
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()][2:] == ["The model: a*", "The model: d*", "The model: b†"]
    assert f"† {LABEL}" in ax.get_xlabel()
    assert "on other hospitals' films the model has 0.900 on a, 0.900 on d; on films on which its" in figure.get_label()
    only = first_figure.figure({"region_ablation": [blind], "cnn": {"auroc": area}, "external": {"sets": sets[:1]}})
    assert "other hospital" not in only.get_label() + only.axes[0].get_xlabel()


def test_where_nothing_can_be_plotted_there_is_a_sentence():
    assert "No external database" in hospitals.figure({"sets": []}, NAMES)
    assert "No group" in matched.figure({"groups": []})
    assert isinstance(colour.figure([]), str)
    assert isinstance(edit_effects.doses_figure({}), str)
