"""The audit as a whole: complete, with reasons for what is not known; what it says follows from its numbers."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import grey_film, png, write_zip

from tblib.audit import effects, hospitals, matched, mitigations, power, references, regions, saliency, verdicts
from tblib.audit.budgets import BUDGETS, BudgetError
from tblib.audit.edited import edited_films
from tblib.audit.external import ExternalError
from tblib.audit.saliency import Saliency
from tblib.audit.study import AuditError, open_audit
from tblib.audit.trainings import over_seeds
from tblib.catalogue import catalogued_database
from tblib.eda.baselines import style_scores
from tblib.films import cues
from tblib.films.database import DatabaseError
from tblib.metrics import Estimate, Scored, bootstrap_weights, label_p, ranking
from tblib.phantoms.presets import CLEAN, PLANTED
from tblib.run import Run
from tblib.system.files import write_json


@pytest.fixture(scope="module")
def results(smoke) -> dict:
    return smoke.facts("shortcuts.json")


def every_number(content):
    """All leaves of nested lists and dicts."""
    if isinstance(content, dict):
        content = content.values()
    if isinstance(content, str) or not hasattr(content, "__iter__"):
        yield content
        return
    for part in content:
        yield from every_number(part)


def test_every_cue_has_a_verdict_its_evidence_and_a_reason(results):
    rows = results["verdicts"]
    assert [row["cue"] for row in rows] == [one.name for one in cues.AUDITED]
    for row in rows:
        assert row["verdict"] in verdicts.MEANING
        assert len(row["reason"]) > 20
        parts = {"exists", "given", "baseline", "sufficiency", "necessity", "use", "share", "fall", "power"}
        assert set(row["evidence"]) == parts
        for name in ("exists", "baseline"):
            part = row["evidence"][name]
            if row["cue"] == "marker style" and part["value"] is None:
                continue  # in so small a demo hardly a positive film carries a marker, and style is told of none
            assert part["low"] <= part["value"] <= part["high"]


def test_the_file_says_how_each_number_was_made(results):
    assert results["seed"] == 0
    assert results["replicates"] == 50
    assert results["thresholds"] == effects.THRESHOLDS
    assert "bootstrap" in results["method"]
    for row in results["region_ablation"]:
        assert row["seeds"] == 1
        assert row["n"] == results["held_out"]["films"]
        assert {"mean", "sd", "low", "high", "masked", "lung"} <= set(row)
    for row in results["planted"]["curve"]:
        assert row["n"] == 1
        assert row["used"]["low"] <= row["used"]["value"] <= row["used"]["high"]
    assert {row["control"] for row in results["planted"]["controls"]} == {
        "shuffled labels",
        "parity of the file number",
        "reference networks, judged by the others",
    }
    assert all(np.isfinite(leaf) for leaf in every_number(results) if isinstance(leaf, float))


def test_no_cell_of_the_verdict_table_is_empty(results):
    table = verdicts.table(results)
    assert len(table) == len(cues.AUDITED)
    for cell in table.to_numpy().ravel():
        assert isinstance(cell, str)
        assert cell.strip() not in ("", "nan", "None")


def test_sentences_follow_the_verdicts(results):
    def told(**changes) -> str:
        rows = [row | {"verdict": changes.get(row["cue"].split()[0], "NOT SHOWN")} for row in results["verdicts"]]
        return " ".join(verdicts.finding(results | {"verdicts": rows}))

    assert "The model is not shown to use any cue." in told()
    assert "The model uses the tint. None is decisive." in told(tint="USED")
    both = told(tint="DECISIVE", white="USED")
    assert "The model uses the tint and the white rectangle. Most of its accuracy rests on the tint." in both
    assert "The film border also gives the class away, but the model is not shown to use it." in told(film="AVAILABLE")
    assert "The black box may be used or not: the audit could have missed it." in told(black="UNDECIDED")


def test_the_headline_rests_on_the_one_rung_without_lungs(results):
    """Another film's outline shows lung, and the best of several regions would be a choice."""
    rows = [
        row | ({"mean": 0.99} if row["region"] != "outside the lungs" else {}) for row in results["region_ablation"]
    ]
    rows.append(rows[0] | {"region": "another film's lungs cut", "lung": 0.5, "mean": 1.234})  # no AUROC of any run
    blind = next(row for row in rows if row["region"] == "outside the lungs")
    told = verdicts.finding(results | {"region_ablation": rows})[2]
    assert f"Small CNNs trained on films whose lungs are painted over have AUROC {blind['mean']:.3f}" in told
    assert "another film" not in told
    assert "1.234" not in told
    text = regions.finding(results, rows)
    assert "another film's lungs cut (50.0 %)" in text.split("share of the lungs in view")[1]
    assert "another film" not in text.split("share of the lungs in view")[0]


def test_one_training_has_no_spread_and_several_have(results):
    own = results["region_ablation"]
    three = [row | {"seeds": 3, "sd": 0.25} for row in own]
    for rows, spread, trainings in ((own, "", "1 training"), (three, " ± 0.250", "mean ± sd of 3 trainings")):
        whole = next(row for row in rows if row["region"] == "whole film")
        blind = next(row for row in rows if row["region"] == "outside the lungs")
        assert f"{whole['mean']:.3f}{spread} ({trainings})." in regions.finding(results, rows)
        told = verdicts.finding(results | {"region_ablation": rows})[2]
        assert f"{blind['mean']:.3f}{spread} ({trainings}; " in told
        shown = [f"{row['mean']:.3f}{spread}" for row in rows]
        assert regions.table(rows)["retrained, mean ± sd"].tolist() == shown


def test_the_spread_of_trainings_is_that_of_their_aurocs():
    target, rng = np.arange(40) % 2, np.random.default_rng(0)
    films, weights = Scored(target, np.zeros(40), np.arange(40)), np.ones((10, 40))
    logits = [rng.normal(size=40) + target for _ in range(3)]
    areas = [ranking(replace(films, score=each), weights).value for each in logits]
    assert over_seeds(films, weights, logits)["sd"] == pytest.approx(np.std(areas, ddof=1))
    assert over_seeds(films, weights, logits[:1])["sd"] is None


def styled(share_positive: float, share_negative: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Films of which these shares of the classes carry markers, their letters and styles drawn alike."""
    rng, target = np.random.default_rng(seed), (np.arange(600) % 3 == 0).astype(np.int64)
    films = pd.DataFrame({"marker": rng.random(600) < np.where(target == 1, share_positive, share_negative)})
    films["marker_letter"] = np.where(films["marker"], rng.choice(["L", "R"], 600), None)
    films["marker_style"] = np.where(films["marker"], rng.choice(["solid", "outline", "dots"], 600), None)
    return films, target


def test_marker_style_does_not_measure_whether_there_is_a_marker():
    """Styles alike, 90 % carriers against 30 %: with non-carriers at 0.5 the AUROC was 0.785."""
    films, target = styled(0.9, 0.3)
    score = style_scores(films, target, np.arange(600), 0)
    told = np.isfinite(score)
    np.testing.assert_array_equal(told, films["marker"])
    scored = Scored(target[told], score[told], np.arange(600)[told])
    assert ranking(scored, bootstrap_weights(scored, 200, 0)).low < 0.5
    assert label_p(scored, 0, one_sided=True) > 0.05


def test_a_style_of_one_class_is_found_among_the_carriers():
    films, target = styled(0.5, 0.5)
    films.loc[films["marker"] & (target == 1), "marker_style"] = "solid"
    score = style_scores(films, target, np.arange(600), 0)
    told = np.isfinite(score)
    scored = Scored(target[told], score[told], np.arange(600)[told])
    assert ranking(scored, bootstrap_weights(scored, 200, 0)).low > 0.7
    assert label_p(scored, 0, one_sided=True) == pytest.approx(1e-4)


def test_a_style_of_hardly_any_carriers_is_not_told():
    films, target = styled(0.5, 0.0)
    assert np.isnan(style_scores(films, target, np.arange(600), 0)).all()


def test_networks_are_trained_on_a_card_where_there_is_one(smoke, monkeypatch):
    audit = open_audit(smoke, "smoke", None, None, 50, 0)
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert replace(audit).device == device
        assert replace(audit, scheduler="tcp://host:8786").device == "cpu"


def test_too_few_replicates_for_a_verdict_are_refused(smoke):
    with pytest.raises(AuditError, match=r"39 bootstrap samples allow no 95 % interval.*set replicates to 40 or more"):
        open_audit(smoke, "smoke", None, None, 39, 0)
    open_audit(smoke, "smoke", None, None, 40, 0)


def test_a_budget_that_is_not_there_is_told(smoke):
    with pytest.raises(BudgetError, match="no budget 'huge'; give smoke, quick, standard, full"):
        open_audit(smoke, "huge", "", "", 50, 0)
    with pytest.raises(ExternalError, match="There is no database at"):
        open_audit(smoke, "smoke", "nowhere.zip", "", 50, 0)


@pytest.fixture
def run(smoke, tmp_path) -> Run:
    shutil.copytree(smoke.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")


def test_a_catalogue_of_other_films_than_were_prepared_is_told(run, capsys):
    """As a first notebook run by hand leaves it on a run whose later steps were done before."""
    from tblib.predict.predictor import open_predictor, sample_contents, sample_films

    write_json(run.path("catalogue.json"), run.facts("catalogue.json") | {"digest": "another"})
    record = run.facts("run.json")
    del record["steps"]["eda"]
    write_json(run.path("run.json"), record | {"complete": False})
    with pytest.raises(DatabaseError, match=r"catalogued anew.*--from preparation"):
        open_audit(run, "smoke", "", "", 50, 0)
    predictor = open_predictor(run.path("model.safetensors"))
    with pytest.raises(DatabaseError, match="catalogued anew"):
        predictor.warnings(predictor.answer(png(grey_film(1)), "a.png"))
    gone = sample_films(run).assign(file="gone.png")
    assert sample_contents(run, gone) == {}
    assert "gone.png is not in demo.zip any more" in capsys.readouterr().out


def test_an_audit_that_was_stopped_goes_on_with_what_is_left(run):
    audit = open_audit(run, "smoke", "", "", 50, 0)
    files = sorted(run.path("audit").glob("*.json"))
    first = regions.measure(audit)
    assert sorted(run.path("audit").glob("*.json")) == files  # all were there
    removed = files[0].read_bytes()
    files[0].unlink()
    assert regions.measure(audit) == first
    films = edited_films(audit)
    power.measure(audit, films, references.measure(audit, films))
    shutil.rmtree(run.path("audit"))
    assert regions.measure(audit) == first
    assert removed


def test_other_hospitals_are_measured_beside_the_inside(run, tmp_path):
    films = {f"normal/a{i}.png": png(grey_film(i)) for i in range(12)}
    films |= {f"tb/b{i}.png": png(grey_film(90 + i)) for i in range(12)}
    path = write_zip(tmp_path / "other.zip", films)
    audit = open_audit(run, "smoke", f"{path},{path}", "", 50, 0)
    found = hospitals.measure(audit, hospitals.scored(audit))
    assert [one["set"] for one in found["sets"]] == ["other", "other"]
    assert found["sets"][0] == found["sets"][1]
    assert found["sets"][0]["n"] == 24
    assert found["lungs"][0]["set"] == "this database"
    rows = mitigations.measure(replace(audit, external=None, selection=str(path)))
    assert [row["selection"]["n"] for row in rows] == [24, 24]
    assert (
        mitigations.measure(replace(audit, external=str(path)))[0]["selection"] is None
    )  # what reports chooses nothing
    inside = [catalogued_database(run).read(file) for file in run.table("catalogue.csv")["file"].iloc[[0, -1]]]
    films |= {"normal/known.png": inside[0], "tb/known.png": inside[1]}
    known = replace(audit, external=str(write_zip(tmp_path / "known.zip", films)))
    assert hospitals.measure(known, hospitals.scored(known))["sets"][0]["duplicates_left_out"] == 2
    chosen_by = replace(known, external=None, selection=known.external)
    assert [row["selection"]["n"] for row in mitigations.measure(chosen_by)] == [24, 24]  # they are left out here, too
    assert [row["mitigation"] for row in rows] == ["none", "equalise"]
    assert rows[0]["selection"]["gain"] == {"value": 0, "low": 0, "high": 0}
    with pytest.raises(ExternalError, match="cannot be validated on them"):
        hospitals.scored(replace(audit, external=str(path), selection=str(path)))
    assert "AUROC on other" in mitigations.table(rows).columns
    told = mitigations.finding(rows)
    assert told.startswith("On “other”, the selection set, ")
    assert "has the highest AUROC" in told
    assert "flatters itself" in told
    metrics = run.facts("metrics.json")
    assert re.search(r"“other”: AUROC .* on 24 films there", hospitals.finding(metrics, found, audit.database.classes))
    for guess, holds in ((found["sets"][0]["auroc"]["high"], "includes it"), (1.01, "does not include it")):
        found["predicted"]["auroc"]["value"] = guess
        assert f"on “other”, whose interval {holds}" in hospitals.finding(metrics, found, audit.database.classes)
    assert hospitals.table(metrics, found).columns.tolist() == ["this database", "other", "other"]
    figure = hospitals.figure(found, audit.database.classes)
    assert len(figure.axes) == 3
    assert "other: AUROC" in figure.get_label()
    assert "none: effect" in mitigations.figure(rows).get_label()


def test_the_demos_own_masks_are_taken_and_estimates_elsewhere(smoke, run):
    known = open_audit(smoke, "smoke", None, None, 50, 0)
    assert known.known_masks is not None
    np.testing.assert_array_equal(known.masks_of(known.held_out_rows), known.known_masks[known.held_out_rows])
    content = run.facts("preparation.json")
    assert content["mitigation"] is None


def test_a_model_that_sees_what_small_networks_see_is_asked_of_that(smoke):
    audit = open_audit(smoke, "smoke", None, None, 50, 0)
    rows = audit.held_out_rows[:6]
    plain = audit.logits_of(audit.pictures(rows), rows)
    np.testing.assert_allclose(audit.logits_of([], rows, audit.images[rows]), plain, atol=1e-5)


def test_a_planted_cue_is_called_used_and_decisive():
    """The rules on a whole: a network that depends on a cue, one that does not."""
    others = tuple(np.random.default_rng(0).normal(0, 0.02, 20))
    moves = effects.Effect(40, Estimate(2.0, 1.5, 2.5), 0.4, others, Estimate(0.4, 0.3, 0.5))
    still = effects.Effect(40, Estimate(0.0, -0.2, 0.2), 0.0, others, Estimate(0.0, -0.05, 0.05))
    strong, none = Estimate(0.9, 0.85, 0.95), Estimate(0.5, 0.42, 0.58)
    found = verdicts.judge_all(
        {
            "cheat": verdicts.Evidence(
                strong, 0.001, strong, moves, moves, moves, strong, Estimate(0.2, 0.1, 0.3), strong
            ),
            "idle": verdicts.Evidence(none, 0.7, none, still, None, still, None, None, strong),
        }
    )
    assert found["cheat"].name == verdicts.DECISIVE
    assert found["idle"].name == verdicts.NOT_SHOWN


def test_the_parity_of_the_file_number_is_no_property_of_a_film():
    files = pd.Series(["a/Normal-12.png", "b/Tuberculosis-7.png", "x/none.png", "x/12_1.png"], index=[4, 5, 6, 7])
    assert power._parity(files).tolist() == [0, 1, 0, 1]


def test_the_planted_demo_differs_in_colour_and_rectangles_alone():
    unequal = {name for name, share in PLANTED.items() if share.normal != share.tuberculosis}
    assert unequal == {"one_channel", "blue", "cyan", "green", "beige", "white_rectangle"}
    assert all(PLANTED[name].normal == 0 for name in unequal)
    assert all(PLANTED[name] == CLEAN[name] for name in set(PLANTED) - unequal - {"neutral", "even_light"})


def test_every_budget_plants_at_the_strength_that_power_is_read_at_and_has_the_whole_film():
    for name, budget in BUDGETS.items():
        assert power.READ_AT in budget.planted or not budget.planted, name
        assert {"whole film", "outside the lungs"} <= set(budget.regions), name
        assert not budget.mitigations or budget.mitigations[0] is None, name
        assert budget.references >= 19 or name == "smoke"
        json.dumps(budget.training)


def test_the_real_films_betray_themselves_without_a_lung(films, tmp_path):
    """Baselines on grey real films: border, histogram and thumbnail at 0.95 or more."""
    from tblib.eda import baselines
    from tblib.films.database import open_database
    from tblib.mitigation import ModelInput
    from tblib.prepare import read_images

    database = open_database(films / "TB_database.zip")
    files = list(database.labels)
    images = read_images(database, files, ModelInput(128))
    target = np.array([database.labels[file] == database.positive for file in files], np.int64)
    for see in (baselines.border_strips, baselines.grey_histogram, baselines.thumbnail):
        score = baselines.cross_validated(see(images), target, np.arange(len(files)), 0)
        area = (score[target == 1][:, None] > score[target == 0][None]).mean()
        assert area >= 0.95, see.__name__


def test_a_shut_gate_and_missing_groups_are_said_in_place_of_pictures():
    shut = {"gate": {"open": False, "correlation": 0.9, "limit": 0.7, "films": 4}, "inside": None}
    audit, found = SimpleNamespace(films=pd.DataFrame()), Saliency(shut, np.empty(0, np.int64), np.empty((0, 8, 8)))
    assert "No maps are shown" in saliency.figure(audit, found)
    assert "none is shown" in saliency.finding(found, ("N", "T"))
    assert "No group" in matched.figure({"groups": []})
    assert "No external database" in hospitals.figure({"sets": []}, ("N", "T"))


def test_a_power_is_quoted_only_of_the_same_code_and_budget(monkeypatch, tmp_path):
    quick = BUDGETS["quick"]
    assert {row["cue"] for row in power.stored(quick, True)["curve"]} == {cue.name for cue in cues.EDITED}
    assert "on SYNTHETIC films" in power.stored(quick, True)["source"]
    for other in ({"films": quick.films + 1}, {"references": 19}, {"training": {}}):
        assert power.stored(replace(quick, **other), True)["curve"] == [], other
    assert power.stored(quick, False)["curve"] == []
    other_code = json.loads(power.STUDY.read_text(encoding="utf-8")) | {"digest": "of other code"}
    write_json(tmp_path / "study.json", other_code)
    monkeypatch.setattr(power, "STUDY", tmp_path / "study.json")
    assert power.stored(quick, True)["source"].startswith("not measured")
    monkeypatch.setattr(power, "STUDY", tmp_path / "none.json")
    assert power.stored(quick, True)["curve"] == []
