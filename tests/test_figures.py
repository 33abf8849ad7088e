"""Figures carry alt texts, and say SYNTHETIC where the films are."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tblib.audit import baselines
from tblib.eda import balance, prevalence, sample
from tblib.films.database import open_database
from tblib.show import evaluation, plots, training


@pytest.fixture
def displayed(monkeypatch):
    """What a notebook would get: (PNG bytes, alt text) of each figure."""
    got = []
    monkeypatch.setattr("IPython.display.display", lambda image: got.append((image.data, image.alt)))
    return got


def test_an_alt_text_goes_with_the_picture_and_synthetic_films_are_stamped(displayed):
    counts = {"Normal": 500, "Tuberculosis": 100}
    plots.display_figure(balance.figure(counts), synthetic=False)
    plots.display_figure(balance.figure(counts), synthetic=True)
    (plain, alt), (stamped, stamped_alt) = displayed
    assert plain[:4] == stamped[:4] == b"\x89PNG"
    assert plain != stamped
    assert "Normal 500, Tuberculosis 100" in alt
    assert "SYNTHETIC" not in alt
    assert stamped_alt == f"SYNTHETIC films. {alt}"


def test_a_figure_shows_the_numbers_it_is_given():
    history = pd.DataFrame({"epoch": [1, 2, 3], "lr": 1e-3, "val_loss": [0.5, 0.2, 0.3]})
    history = history.assign(
        **dict.fromkeys(("train_loss", "train_accuracy", "val_accuracy", "train_f1", "val_f1"), 0.5)
    )
    figure = training.figure(history)
    assert "kept: epoch 2" in figure.get_label()
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), [0.5, 0.2, 0.3])


def test_every_picture_of_a_run_says_synthetic_and_has_an_alt_text(smoke):
    import nbformat

    pictures = 0
    for path in sorted(smoke.path("notebooks").glob("0*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    pictures += 1
                    alt = output.metadata["image/png"]["alt"]
                    assert alt.startswith("SYNTHETIC films. "), path.name
                    assert len(alt) > 40, alt
    assert pictures >= 15


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
    assert [text.get_text().strip() for text in left.get_legend().get_texts()] == list(names)
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["$^$"]
    assert not any(text.get_parse_math() for text in left.findobj(Text))
    assert all(tick.get_parse_math() for tick in right.get_xticklabels())


def test_figures_are_pictures_that_can_be_drawn(smoke, displayed):
    test = smoke.table("predictions.csv").query("part == 'test'")
    metrics = smoke.facts("metrics.json")
    made = [
        evaluation.ranking_figure(test, metrics),
        evaluation.calibration_figure(test, metrics),
        evaluation.confusion_figure(metrics["operating_points"], ("Normal", "Tuberculosis")),
        baselines.figure(smoke.facts("shortcuts.json"), metrics["majority_accuracy"]),
    ]
    for figure in made:
        assert isinstance(figure, Figure)
        assert len(figure.get_label()) > 30
        plots.display_figure(figure, synthetic=False)
    for data, _ in displayed:
        assert Image.open(io.BytesIO(data)).width > 500
