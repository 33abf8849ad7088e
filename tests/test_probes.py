"""Probes of one cue do not see another: where only the other cue differs between the classes, they tell nothing."""

import numpy as np
import pytest

from tblib.audit.baselines import alone_of
from tblib.audit.study import Audit, open_audit
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.trained import train_run
from tblib.evaluate import evaluate
from tblib.films.cues import AUDITED
from tblib.films.database import open_database
from tblib.phantoms.demo import write_demo
from tblib.phantoms.presets import CLEAN, Preset, Prevalence
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.train import Training

FILMS = 240
DIFFER: dict[str, tuple[Preset, str]] = {  # what differs -> its prevalences, and the cue that it is
    "tint": ({"blue": Prevalence(0, 0.6)}, "tint"),
    "border": ({"white_border": Prevalence(0, 0.3), "black_border": Prevalence(0, 0.3)}, "film border"),
    "marker": ({"plain": Prevalence(0.48, 0.08), "plate": Prevalence(0.48, 0.08)}, "L/R marker"),
    "rectangle": ({"white_rectangle": Prevalence(0, 0.6)}, "white rectangle"),
    "box": ({"black_box": Prevalence(0.6, 0)}, "black box"),
    "equalised": ({"equalised": Prevalence(0.7, 0)}, "grey histogram"),
}
PROBES = [cue for cue in AUDITED if cue.name not in ("one-channel file", "outside the lungs")]  # the latter sees all
# Stretched grey levels lift the noise of flat areas: AUROC 0.56 to 0.62 with seven in ten films of one class equalised.
# No probe of sharpness was found that does without this and still sees compression; a verdict on sharpness is given
# among films alike in the histogram, therefore.
EQUALISED_SHARPENS = ("grey histogram", "sharpness, compression")


@pytest.fixture(scope="module", params=list(DIFFER))
def differing(request, tmp_path_factory) -> tuple[str, Audit]:
    """The name of the one cue that differs, and an audit of films on which all others are equally common."""
    preset, cue = DIFFER[request.param]
    folder = tmp_path_factory.mktemp("demo")
    run = open_run(str(folder / "run"))
    bare = {name: Prevalence(0, 0) for name in CLEAN}
    common = {"plain": Prevalence(0.3, 0.3), "plate": Prevalence(0.3, 0.3)}  # so that there are styles to tell apart
    database = open_database(write_demo(folder / "films.zip", FILMS, 5, bare | common | preset))
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 128, 0)
    train_run(run, Training(epochs=1, width=2))
    evaluate(run, 50, 0)
    return cue, open_audit(run, "smoke", None, None, 400, 0)


def test_a_probe_sees_its_own_cue_and_no_other(differing):
    own, audit = differing
    seen = [cue for cue in PROBES if (own, cue.name) != EQUALISED_SHARPENS]
    areas = {cue.name: alone_of(audit, cue).auroc for cue in seen}
    assert areas.pop(own).low > 0.6
    assert {name: area for name, area in areas.items() if not area.low <= 0.5 <= area.high} == {}


def test_a_cue_that_is_equally_common_does_not_exist(differing):
    own, audit = differing
    assert [cue.name for cue in PROBES if cue.name in audit.existing] == [own]
    assert np.isfinite([audit.associations[cue.name].p for cue in PROBES]).all()
