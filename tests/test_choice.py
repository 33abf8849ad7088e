"""What chooses cannot report: the comparison of mitigations, and the record of which films chose."""

import json

import numpy as np
import pytest
from conftest import png

from tblib.audit.external import ExternalError, read_external, refuse_chosen
from tblib.audit.trainings import areas, gain, over_trainings
from tblib.classifiers.choice import ChoiceError, read_choice
from tblib.metrics import Scored, bootstrap_weights
from tblib.mitigation import ModelInput
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES

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


def test_a_set_that_chose_is_refused_under_another_name_and_when_it_is_a_part_of_a_larger_one(tmp_path):
    chose, other = hospital(tmp_path / "chose", FILMS), hospital(tmp_path / "other", OTHERS)
    refuse_chosen(other, chose)
    renamed = hospital(tmp_path / "renamed", {f"x{name}": film for name, film in FILMS.items()})
    larger = hospital(tmp_path / "larger", FILMS | OTHERS)
    for one, films in ((renamed, 24), (larger, 44)):
        with pytest.raises(ExternalError, match=rf"24 of the {films} films of the external database .* chose"):
            refuse_chosen(one, chose)


def test_a_record_of_a_choice_is_read_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "choice.json"
    path.write_text(json.dumps({"set": "there", "n": 2, "films": ["a", "b"], "chosen": "lesions"}))
    assert read_choice(str(path)) == {"set": "there", "n": 2, "films": ["a", "b"]}
    for wrong in ("{", "[]", '{"set": "there", "n": 3, "films": ["a"]}', '{"set": "there", "n": 0, "films": []}'):
        path.write_text(wrong)
        with pytest.raises(ChoiceError, match="parameter chosen_by"):
            read_choice(str(path))
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
