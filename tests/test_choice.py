"""What chooses cannot report: the comparison of mitigations, and the record of which films chose."""

import json

import numpy as np
import pytest
from conftest import png, write_zip

from tblib.audit import mitigations
from tblib.audit.external import ExternalError, read_external, refuse_chosen
from tblib.audit.trainings import areas, gain, over_trainings
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.choice import ChoiceError, read_choice
from tblib.classifiers.trained import load_model, train_run
from tblib.films.database import open_database
from tblib.metrics import Scored, bootstrap_weights
from tblib.mitigation import ModelInput
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES
from tblib.prepare import prepare
from tblib.report.checks import refuse_early
from tblib.report.parameters import check_parameters
from tblib.run import open_run
from tblib.train import Training

FILMS, OTHERS = (
    {
        f"{name}_{number}_{number % 2}.png": phantom_film(CLASSES[number % 2], seed + number).pixels
        for number in range(count)
    }
    for name, seed, count in (("CHN", 900, 24), ("MC", 990, 20))
)


def hospital(folder, films):
    folder.mkdir()
    for name, pixels in films.items():
        (folder / name).write_bytes(png(pixels))
    return read_external(str(folder), ModelInput(32))


@pytest.fixture
def record(tmp_path):
    """The record of a choice, as a study leaves it."""
    path = tmp_path / "choice.json"
    path.write_text(json.dumps({"set": "there", "n": 2, "films": ["a", "b"], "chosen": "lesions"}))
    return path


def test_a_set_that_chose_is_refused_under_another_name_and_when_it_is_a_part_of_a_larger_one(tmp_path):
    chose, other = hospital(tmp_path / "chose", FILMS), hospital(tmp_path / "other", OTHERS)
    refuse_chosen(other, chose)
    renamed = hospital(tmp_path / "renamed", {f"x{name}": film for name, film in FILMS.items()})
    larger = hospital(tmp_path / "larger", FILMS | OTHERS)
    for one, films in ((renamed, 24), (larger, 44)):
        with pytest.raises(ExternalError, match=rf"24 of the {films} films of the external database .* chose"):
            refuse_chosen(one, chose)


def test_a_record_of_a_choice_is_read_and_anything_else_is_refused(record, tmp_path):
    assert read_choice(str(record)) == {"set": "there", "n": 2, "films": ["a", "b"]}
    for wrong in ("{", "[]", '{"set": "there", "n": 3, "films": ["a"]}', '{"set": "there", "n": 0, "films": []}'):
        record.write_text(wrong)
        with pytest.raises(ChoiceError, match="parameter chosen_by"):
            read_choice(str(record))
    with pytest.raises(ChoiceError, match="cannot be read"):
        read_choice(str(tmp_path / "nowhere.json"))


def scored(rng, strength, films=200):
    target = np.arange(films) % 2
    return target, rng.normal(size=films) + strength * target


def test_a_gain_is_paired_and_its_interval_covers_trainings_and_films():
    rng = np.random.default_rng(0)
    target, logits = scored(rng, 1.0)
    films = Scored(target, logits, np.arange(len(target)))
    weights = bootstrap_weights(films, 400, 0)
    alike = areas(films, weights, [logits, logits + 0.01, 2 * logits])
    none = gain(alike, alike, 0)
    assert none == (0, 0, 0)  # films that are hard for both cancel out
    one, several = over_trainings(*(each[:1] for each in alike), 0), over_trainings(*alike, 0)
    assert one.low < one.value < one.high
    assert (several.high - several.low) == pytest.approx(one.high - one.low, rel=0.2)  # trainings do not differ
    apart = areas(films, weights, [logits, -logits, logits, -logits])
    wide = over_trainings(*apart, 0)
    assert wide.high - wide.low > 2 * (several.high - several.low)  # trainings do
    better = areas(films, weights, [logits + 2 * target for _ in range(3)])
    assert gain(better, alike, 0).low > 0
    assert gain(alike, better, 0).high < 0


def test_which_films_chose_is_kept_with_the_model(demo, record, tmp_path):
    database, run = open_database(demo), open_run(str(tmp_path / "run"))
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 32, 0)
    train_run(run, Training(epochs=1, width=4), str(record))
    known = {"set": "there", "n": 2, "films": ["a", "b"]}
    assert load_model(run.path("model.safetensors")).training["chosen_by"] == known
    assert run.facts("training.json")["chosen_by"] == known
    train_run(run, Training(epochs=1, width=4))
    assert "chosen_by" not in load_model(run.path("model.safetensors")).training


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"chosen_by": "nowhere.json"}, ChoiceError, "nowhere.json, cannot be read"),
        ({"external": "{other}", "selection": "{other}"}, ExternalError, "named twice"),
        ({"external": "{other},{other}"}, ExternalError, "named twice"),
        ({"selection": "{demo}"}, ExternalError, "the one that the run trains on"),
        ({"selection": "nowhere.zip"}, ExternalError, "nowhere.zip cannot be used"),
    ],
)
def test_what_cannot_choose_or_report_is_told_before_the_first_step(given, error, told, demo, tmp_path):
    places = {"other": write_zip(tmp_path / "other.zip", {n: png(f) for n, f in OTHERS.items()}), "demo": demo}
    asked = check_parameters({name: text.format(**places) for name, text in given.items()})
    with pytest.raises(error, match=told):
        refuse_early(asked, {"training", "shortcuts"}, str(demo))


def compared(*points: tuple[str, float | None, float]) -> list[dict]:
    """Rows of a comparison: mitigation, accuracy of the worst group, AUROC on the selection set."""
    return [
        {
            "mitigation": name, "seeds": 2, "n": 50, "worst_group": {"mean": worst, "sd": 0.01},
            "selection": {"set": "there", "n": 80, "mean": area, "sd": 0.01, "low": area - 0.05, "high": area + 0.05},
        }
        for name, worst, area in points
    ]  # fmt: skip


def test_what_is_chosen_keeps_the_worst_group():
    rows = compared(("none", 0.9, 0.6), ("best", 0.69, 0.9), ("good", 0.70, 0.8), ("unknown", None, 0.95))
    assert [mitigations.choice(each) for each in (rows, rows[:2], rows[1:2])] == [rows[2], rows[0], None]
    figure = mitigations.trade(rows)
    assert figure.get_label().startswith("Chosen: good. Worst group inside and AUROC on there: none 0.90, 0.600;")
    (ax,) = figure.axes
    assert sorted(text.get_text() for text in ax.texts) == [
        "best",
        "chosen: good",
        "none",
    ]  # none other is better in both
    figure = mitigations.trade(rows[1:2])
    assert figure.get_label().startswith("Nothing is chosen: no worst group keeps 0.7. Worst group inside")
    assert [text.get_text() for text in figure.axes[0].texts] == ["best"]
    assert "Without a selection set" in mitigations.trade([row | {"selection": None} for row in rows])


def test_a_comparison_that_no_mitigation_wins_says_so():
    rows = compared(("none", 0.9, 0.8), ("other", 0.8, 0.7))
    assert mitigations.finding(rows).startswith("On “there”, the selection set, no mitigation has a higher AUROC than")
    alone = [row | {"selection": None} for row in rows]
    assert mitigations.finding(alone).startswith(
        "No mitigation raises the accuracy of the worst group: with none it is 0.900 ± 0.010, the highest of 2 ("
    )
    assert "is highest with none, the best of 2: 0.900" in mitigations.finding(alone[::-1])
