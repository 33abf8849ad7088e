"""Likeness: films unlike the training films are recognised and get no verdict; films like them get one."""

import json
import zipfile

import numpy as np
import pytest
from conftest import grey_film, png
from odd_pictures import KINDS, pictures

from tblib.classifiers.likeness import TURNED, fit_likeness, likeness_of, open_likeness, thumbnails
from tblib.films.database import DEFAULTS
from tblib.films.film import grey_of, open_film, resized
from tblib.phantoms.demo import write_demo
from tblib.predict.files import predict_files
from tblib.predict.predictor import describe, open_predictor
from tblib.run import LIKENESS, DamagedError, Run


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> np.ndarray:
    """Thumbnails of 240 demo films, uint8."""
    path = write_demo(tmp_path_factory.mktemp("films") / "demo.zip", films=240, seed=3)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.split("/")[-2] in DEFAULTS and name.endswith(".png")]
        return thumbnails([resized(open_film(archive.read(name), name).grey, 128) for name in names])


@pytest.fixture(scope="module")
def fitted(phantoms):
    """The likeness of four fifths of them; the last fifth is for tests."""
    shuffled = np.random.default_rng(0).permutation(len(phantoms))
    return fit_likeness(phantoms[shuffled[:192]]), phantoms[shuffled[192:]]


def flagged(likeness, films) -> float:
    return float(np.mean([bool(likeness.unlike(film)) for film in films]))


def test_films_like_the_training_films_pass_also_mirrored_and_in_other_light(fitted):
    likeness, films = fitted
    lighter, darker = (255 * (films / 255) ** power for power in (0.7, 1.5))
    for name, like in {"": films, "lighter": lighter, "darker": darker, "mirrored": films[..., ::-1]}.items():
        assert flagged(likeness, like.astype(np.uint8)) <= 0.1, name


UPRIGHT = {  # change -> what undoes it, or nearly so, as a chest is much alike on both sides
    "in negative": ("in negative",),
    "turned by 90° to the left": ("turned by 90° to the right",),
    "turned by 90° to the right": ("turned by 90° to the left",),
    "turned by 180°": ("turned by 180°", "mirrored top to bottom"),
    "mirrored top to bottom": ("turned by 180°", "mirrored top to bottom"),
}


@pytest.mark.parametrize("change", TURNED)
def test_turned_films_and_negatives_are_unlike_and_what_would_make_them_alike_is_said(fitted, change):
    likeness, films = fitted
    changed = TURNED[change](films)
    assert flagged(likeness, changed) >= 0.95
    said = [any(f"like them {undone}." in likeness.unlike(film) for undone in UPRIGHT[change]) for film in changed]
    assert np.mean(said) >= 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_other_kinds_are_unlike(fitted, kind):
    odd = [grey_of(picture) for picture in pictures(kind, 40)]
    assert flagged(fitted[0], [resized(film, 128) for film in odd]) >= 0.95


def test_films_that_are_scaled_otherwise_are_unlike_and_the_level_is_said(fitted):
    likeness, films = fitted
    assert not [told for film in films if "parts are at level" in (told := likeness.unlike(film))]
    for name, film in {"dark": films[0] // 16, "washed out": 200 + films[0] // 8, "white": films[0] | 240}.items():
        assert "parts are at level" in likeness.unlike(film), name


def test_a_run_keeps_what_it_found_and_one_made_before_finds_it_anew(smoke, tmp_path):
    kept = open_likeness(smoke)
    assert smoke.path(LIKENESS).is_file()
    for file in ("images.npy", "split.csv"):
        (tmp_path / file).symlink_to(smoke.path(file))
    assert open_likeness(Run(tmp_path)) == likeness_of(smoke)
    assert np.allclose(likeness_of(smoke).weights, kept.weights, atol=1e-6)
    content = json.loads(smoke.path(LIKENESS).read_text())
    (tmp_path / LIKENESS).write_text(json.dumps(content | {"weights": content["weights"][1:]}))
    with pytest.raises(DamagedError, match=r"likeness\.json"):
        open_likeness(Run(tmp_path))


def test_an_unlike_film_gets_no_verdict_anywhere(smoke, tmp_path):
    predictor = open_predictor(smoke.path("model.safetensors"))
    answer = predictor.answer(png(grey_film(1, 300)), "a.png")
    assert answer.verdict == "" == predictor.at(answer, "sensitivity_90").verdict
    assert "unlike the films that the model was trained on" in answer.unlike
    assert answer.unlike in describe(answer, predictor)
    (tmp_path / "a.png").write_bytes(png(grey_film(1, 300)))
    for warn in (False, True):
        table = predict_files(predictor, [tmp_path / "a.png"], warn=warn)
        assert table["verdict"][0] == ""
        assert "not like the training films" in table["warnings"][0]
        assert 0 <= table["probability"][0] <= 1


def test_films_of_the_run_get_a_verdict(smoke):
    assert flagged(open_likeness(smoke), smoke.images()) <= 0.05


def test_somebody_elses_model_has_no_verdict_on_such_a_film_either(theirs):
    predictor = open_predictor(theirs.path("model.json"))
    assert predictor.answer(png(grey_film(1, 300)), "a.png").verdict == ""


def test_films_of_other_hospitals_get_a_verdict(films):
    """Real films: the score is found on the Kaggle sample alone."""
    sets = {name: _thumbnails(films / f"{name}.zip") for name in ("TB_database", "montgomery", "shenzhen_half")}
    own = np.random.default_rng(0).permutation(sets.pop("TB_database"))
    likeness = fit_likeness(own)
    for name, others in sets.items():
        assert flagged(likeness, others) <= 0.05, name
        assert flagged(likeness, 255 - others) >= 0.95, name
        assert flagged(likeness, np.rot90(others, 1, (1, 2))) >= 0.95, name


def _thumbnails(path) -> np.ndarray:
    """Thumbnails of at most 300 films of a database."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png") and "masks" not in name]
        some = np.random.default_rng(0).permutation(names)[:300]
        return thumbnails([open_film(archive.read(name), name).grey for name in some])
