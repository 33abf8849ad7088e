"""For reviewers: every number is the run's, every "not reported" is stable, links lead somewhere, names stay text."""

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import MARKUP

from tblib.__main__ import main
from tblib.audit.choice import LABEL
from tblib.report.anchors import anchor
from tblib.report.review.cards import METRICS, _elsewhere, figures, model_card
from tblib.report.review.checklists import CLAIM, TOPICS, TRIPOD, answered, published
from tblib.report.review.citations import bibliography, entries, used
from tblib.report.review.croissant import metadata
from tblib.report.review.datasheet import datasheet
from tblib.report.review.reviewed import Reviewed, reviewed
from tblib.report.review.reviewers import FILES, ReviewError, plain, sections, write_cards
from tblib.run import Run
from tblib.show.text import capital, estimate
from tblib.system.files import file_digest, write_json

HOSTILE = f"{MARKUP}<script>alert(1)</script>|.zip"
NEVER = {  # items that no run reports, whatever its films and model
    CLAIM: {"15", "16", "18", "21", "34", "44"},
    TRIPOD: {"3c", "5b", "6a", "6c", "8b", "8c", "10", "17", "18a", "18b", "18c", "18d", "19"},
}


@pytest.fixture(scope="session")
def written(smoke, tmp_path_factory) -> Run:
    """The smoke run's folder, copied, with all files for reviewers."""
    return copied(smoke, tmp_path_factory.mktemp("cards") / "run")


def copied(run: Run, folder, **facts) -> Run:
    """A copy of a run with the files for reviewers, and with some facts of its catalogue changed."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("audit", "*.npy", *FILES))
    other, record = Run(folder), run.facts("run.json")
    if facts:
        write_json(other.path("catalogue.json"), run.facts("catalogue.json") | facts)
        record["steps"]["eda"]["files"]["catalogue.json"] = file_digest(other.path("catalogue.json"))
        write_json(other.path("run.json"), record)
    assert main(["card", "--name", str(folder)]) == 0
    return other


def facts_of(run: Run):
    return reviewed(run, run.facts("run.json"))


def statuses(run: Run, checklist: str) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {"reported": set(), "partly reported": set(), "not reported": set()}
    for item in answered(facts_of(run), checklist):
        kinds[item.answer.status].add(item.number)
    return kinds


# --- checklists -----------------------------------------------------------------------------------


def test_all_items_of_the_published_lists_are_there_once_and_in_order():
    assert [item["item"] for item in published()[CLAIM]["items"]] == [str(number) for number in range(1, 45)]
    numbers = [item["item"] for item in published()[TRIPOD]["items"]]
    assert len(numbers) == len(set(numbers)) == 52
    assert list(dict.fromkeys(int(re.sub(r"\D", "", number)) for number in numbers)) == list(range(1, 28))
    parts = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    assert numbers == [f"{number}{part}" for number in range(1, 28) for part in parts.get(number, [""])]


def test_each_topic_is_asked_for_and_each_item_has_a_topic_or_says_what_is_missing():
    items = [item for checklist in (CLAIM, TRIPOD) for item in published()[checklist]["items"]]
    assert {item["topic"] for item in items if "topic" in item} == set(TOPICS)
    assert all(("topic" in item) != ("lacks" in item) for item in items)
    for item in items:
        assert ("where" in item) == ("topic" in item and item["topic"] != "deidentification"), item


def test_what_is_not_reported_is_the_same_for_each_run(smoke):
    results = smoke.facts("shortcuts.json")
    assert results["external"]["sets"] == []  # smoke gives no films of other hospitals
    here = {CLAIM: {"33"}, TRIPOD: {"12d", "23b"}}
    if not results["matched"]["groups"]:  # none of its groups has enough films
        here[TRIPOD].add("14")
    for checklist, never in NEVER.items():
        assert statuses(smoke, checklist)["not reported"] == never | here[checklist]


def test_what_is_not_said_of_somebody_elses_model_is_not_reported(theirs):
    assert {"24", "26", "27"} <= statuses(theirs, CLAIM)["not reported"]
    assert "13" in statuses(theirs, TRIPOD)["not reported"]
    assert {"22", "23", "25"} <= statuses(theirs, CLAIM)["partly reported"]
    card = model_card(facts_of(theirs))
    assert any(row.lacks.startswith("how it was trained") for row in card["Caveats and recommendations"])
    assert any("somebody else" in row.text for row in card["Model details"])


def test_nothing_that_is_not_reported_is_in_the_artefacts(smoke):
    """What the lists miss are facts of people and of a study's papers; a run's files have no place for them."""
    keys = set(smoke.table("catalogue.csv").columns)
    for name in ("catalogue.json", "preparation.json", "metrics.json", "shortcuts.json", "run.json"):
        keys |= set(re.findall(r'"(\w+)":', smoke.path(name).read_text(encoding="utf-8")))
    asked = {"age", "sex", "patient", "date", "treatment", "funding", "registration", "protocol", "ethics", "annotator"}
    assert not asked & {word for key in keys for word in key.lower().split("_")}


def test_links_lead_to_sections_of_the_report(smoke, written):
    page = BeautifulSoup(smoke.path("report.html").read_text(encoding="utf-8"), "html.parser")
    ids = {tag["id"] for tag in page.find_all(id=True)}
    links = {tag["href"] for tag in page.find("h2", id="reviewers").find_parent("section").find_all("a")}
    assert len(links) > 20
    assert {link.removeprefix("#") for link in links} <= ids
    for file in ("model_card.md", "datasheet.md", "checklists.md"):
        found = re.findall(r"report\.html#([^)]+)\)", written.path(file).read_text(encoding="utf-8"))
        assert found
        assert set(found) <= ids, file


def test_anchors_are_words_joined_by_hyphens():
    assert anchor("eda") == "eda"
    assert anchor("eda", "L/R markers") == "eda-l-r-markers"
    assert (
        anchor("shortcuts", " Matched films, and the <b>worst</b> group ")
        == "shortcuts-matched-films-and-the-b-worst-b-group"
    )


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_artefacts(smoke, written):
    metrics = smoke.facts("metrics.json")
    card = json.loads(written.path("model_card.json").read_text(encoding="utf-8"))
    assert {row["name"] for row in card["figures"]} == set(METRICS)
    for row in card["figures"]:
        assert {name: row[name] for name in ("value", "low", "high")} == metrics[row["name"]]
    told = written.path("model_card.md").read_text(encoding="utf-8")
    for name in ("auroc", "f1", "brier", "ece"):
        assert estimate(metrics[name]) in told
    checklists = written.path("checklists.md").read_text(encoding="utf-8")
    for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):
        assert estimate(metrics[name], True) in checklists
    for row in smoke.facts("shortcuts.json")["verdicts"]:
        assert f"{plain(row['verdict'])}: {plain(row['reason'])}" in told
    parts = smoke.facts("preparation.json")["parts"]
    assert f"train {sum(parts['train'].values())} ({parts['train']['Tuberculosis']} Tuberculosis)" in checklists


def test_films_of_other_hospitals_have_their_numbers(smoke):
    found = {"value": 0.61, "low": 0.5, "high": 0.7}
    results = smoke.facts("shortcuts.json")
    point = {"threshold": 0.5, "sensitivity": found, "specificity": found}
    results["external"]["sets"] = [{"set": "m|", "n": 9, "positives": 4, "auroc": found, "points": {"0.5": point}}]
    facts = facts_of(smoke)
    facts.shortcuts.update(results)
    assert [row for row in figures(facts) if row["on"] == "m|"] == [
        {"name": name, "on": "m|", "films": 9} | found for name in ("auroc", "sensitivity", "specificity")
    ]
    assert "m|: 9 films (4 positive), AUROC 0.610 (0.500 to 0.700)" in dict(enumerate(answers(facts, CLAIM)))[32]


def hospitals_of(sets: list[dict]) -> Reviewed:
    """A run of which nothing is known but results on these sets of films, and what training and figures need."""
    found = {"value": 0.99, "low": 0.98, "high": 1.0}
    metrics = dict.fromkeys(METRICS, found) | {"n": 9, "positives": 4, "operating_points": {"0.5": {"threshold": 0.5}}}
    point = {"0.5": {"sensitivity": found, "specificity": found}}
    rows = [{"n": 9, "positives": 4, "auroc": found, "points": point} | one for one in sets]
    catalogue = {"synthetic": False, "database": "d.zip", "digest": "0" * 64, "films": {"Normal": 5}, "left_out": []}
    training = {"augmentation": {}, "mitigation": "balance", "schedule": "cosine"}
    training |= dict.fromkeys(("epochs", "batch_size", "lr", "pos_weight", "seed"), 1)
    training["chosen_by"] = {"set": "m", "n": 283, "films": []}
    shortcuts = {"external": {"sets": rows}}
    return Reviewed(None, {}, catalogue, {}, metrics, shortcuts, training, None, frozenset(), 0)  # type: ignore[arg-type]


def test_films_on_which_settings_were_chosen_are_no_external_validation_in_any_answer():
    only = hospitals_of([{"set": "m", "chose": True}])
    for topic in ("external", "clusters"):
        text, lacks = TOPICS[topic](only)
        assert text == ""
        assert "its settings were chosen on the films that were given, m." in lacks
    assert "m: 9 films (4 positive), AUROC 0.990" in TOPICS["external"](only)[1]
    assert "its settings were chosen" in TOPICS["differences"](only)[1]
    assert "other hospitals" not in TOPICS["goal"](only)[0]
    assert "no films of other hospitals but those on which settings were chosen" in TOPICS["limitations"](only)[0]
    assert TOPICS["next_steps"](only)[0] == "Validation on more films of other hospitals."
    assert "Other hospitals" not in TOPICS["sources"](only)[0]
    assert f"{capital(LABEL)}, so no external validation: m: 9 films" in TOPICS["sources"](only)[0]
    assert TOPICS["training"](only)[0].endswith("settings were chosen by results on 283 films of m.")
    both = hospitals_of([{"set": "m", "chose": True}, {"set": "k", "chose": False}])
    assert TOPICS["external"](both) == (
        "k: 9 films (4 positive), AUROC 0.990 (0.980 to 1.000). Settings chosen on these films, so no external "
        "validation: m: 9 films (4 positive), AUROC 0.990 (0.980 to 1.000).", "",
    )  # fmt: skip
    assert "m: 9" not in TOPICS["clusters"](both)[0]
    assert [one["on"] for one in figures(both) if one["name"] == "auroc"][1:] == ["k", f"m ({LABEL})"]
    assert [answer.question for answer in _elsewhere(both)] == [
        "k, 9 films (4 positive)", f"m ({LABEL}), 9 films (4 positive)",
    ]  # fmt: skip
    assert list(_elsewhere(only))[-1].status == "not reported"


def test_training_on_drawn_lesions_is_told():
    known = hospitals_of([])
    assert "SYNTHETIC" not in TOPICS["training"](known)[0]
    drawn = replace(known, preparation={"drawn": {"films": 7}})
    assert "Besides, 7 negative films with SYNTHETIC lesions trained it as positive." in TOPICS["training"](drawn)[0]


def answers(facts, checklist: str) -> list[str]:
    return [item.answer.told for item in answered(facts, checklist)]


# --- Croissant ------------------------------------------------------------------------------------


def test_croissant_is_valid_and_its_table_can_be_read(smoke, written):
    mlcroissant = pytest.importorskip("mlcroissant")
    found = mlcroissant.Dataset(jsonld=str(written.path("croissant.json")))
    assert not found.metadata.ctx.issues.errors
    assert found.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    table = smoke.table("catalogue.csv")
    rows = pd.DataFrame(found.records("rows")).rename(columns=lambda name: name.removeprefix("rows/"))
    assert rows["file"].str.decode("utf-8").tolist() == table["file"].tolist()
    assert set(rows.columns) == set(table.columns)
    for name in ("width", "one_channel", "grey_mean", "duplicate_group"):
        assert rows[name].tolist() == table[name].tolist()
    assert "SYNTHETIC" in found.metadata.personal_sensitive_information[0]
    assert found.metadata.data_biases


def test_croissant_names_the_files_with_their_digests_and_no_film(smoke, written, demo):
    text = written.path("croissant.json").read_text(encoding="utf-8")
    files = {each["name"]: each for each in json.loads(text)["distribution"]}
    assert files["catalogue.csv"]["sha256"] == file_digest(smoke.path("catalogue.csv"))
    assert files[demo.name]["sha256"] == file_digest(demo)
    assert not any(file in text for file in smoke.table("catalogue.csv")["file"])


def test_films_that_are_gone_are_not_among_the_files(smoke, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    run = copied(smoke, tmp_path / "run", path=str(tmp_path / "gone.zip"))
    content = metadata(facts_of(run))
    assert [each["name"] for each in content["distribution"]] == ["catalogue.csv"]
    assert "no longer where the run read them" in content["description"]
    assert not mlcroissant.Dataset(jsonld=content).metadata.ctx.issues.errors


def test_no_file_names_a_folder_of_the_machine(written, demo):
    for file in FILES:
        text = written.path(file).read_text(encoding="utf-8")
        assert str(demo.parent) not in text, file
        assert str(written.folder.parent) not in text, file


def test_no_section_of_a_page_on_somebody_elses_model_names_a_folder(theirs):
    for _, _, html in sections(theirs, theirs.facts("run.json")):
        assert str(theirs.folder.parent) not in html


def test_every_file_says_synthetic(written):
    for file in FILES:
        if file != "citations.bib":
            assert "SYNTHETIC" in written.path(file).read_text(encoding="utf-8"), file


# --- references -----------------------------------------------------------------------------------


def test_references_are_those_that_the_run_used(smoke, theirs):
    facts = facts_of(smoke)
    keys = used(facts)
    assert {"tblib", "guo2017", "holm1979", "wilson1927", "crawford1998", "tejani2024", "collins2024"} <= set(keys)
    assert not {"rahman2020", "jaeger2014"} & set(keys)
    assert ("sagawa2020" in keys) == any(
        "group_dro" in str(row["mitigation"]) for row in facts.shortcuts["mitigations"]
    )
    version = facts.record["steps"]["eda"]["versions"]["tblib"]
    assert f"version = {{{version}}}" in bibliography(facts)
    assert bibliography(facts).count("\n@") + 1 == len(keys)
    assert "adebayo2018" not in used(facts_of(theirs)) or theirs.facts("shortcuts.json")["saliency"]["gate"]


def test_entries_are_complete_bibtex():
    assert len(entries()) > 25
    for key, entry in entries().items():
        assert entry.count("{") == entry.count("}"), key
        assert "year = {" in entry, key
        assert "title = {" in entry, key


# --- names and the command ------------------------------------------------------------------------


def test_names_with_markup_stay_text(smoke, tmp_path):
    run = copied(smoke, tmp_path / "run", database=HOSTILE)
    for _, _, html in sections(run, run.facts("run.json")):
        assert "<script>" not in html
        assert not BeautifulSoup(html, "html.parser").find_all(["script", "b", "img"])
    assert any(
        HOSTILE in BeautifulSoup(html, "html.parser").get_text() for _, _, html in sections(run, run.facts("run.json"))
    )
    for file in ("model_card.md", "datasheet.md", "checklists.md"):
        text = run.path(file).read_text(encoding="utf-8")
        assert "<script" not in text.replace("\\<script", "")
        assert plain(HOSTILE) in text
        widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
        assert widths == ({5} if file == "checklists.md" else {3})


def test_sections_of_the_page_have_their_anchors_and_no_way_out(smoke):
    found = sections(smoke, smoke.facts("run.json"))
    assert [anchor for anchor, _, _ in found] == ["model-card", "datasheet", "claim", "tripod", "citations"]
    for _, title, html in found:
        assert title
        assert all(link["href"].startswith("#") for link in BeautifulSoup(html, "html.parser").find_all("a"))
    text = found[2][2] + found[3][2]
    assert "44 items" in text
    assert "could not be checked against the journal" in text


def test_the_nine_sections_of_the_card_and_the_seven_of_the_datasheet(smoke):
    assert len(model_card(facts_of(smoke))) == 9
    assert len(datasheet(facts_of(smoke))) == 7
    for card in (model_card(facts_of(smoke)), datasheet(facts_of(smoke))):
        for rows in card.values():
            assert rows
            assert all(row.text or row.lacks for row in rows)


def test_the_command_replaces_nothing_unless_asked_and_needs_a_complete_run(smoke, tmp_path, capsys):
    run = copied(smoke, tmp_path / "run")
    before = {file: run.path(file).read_bytes() for file in FILES}
    run.path("datasheet.md").write_text("mine")
    assert main(["card", "--name", str(run.folder)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run.path("datasheet.md").read_text() == "mine"
    assert main(["card", "--name", str(run.folder), "--overwrite"]) == 0
    assert {file: run.path(file).read_bytes() for file in FILES} == before
    with pytest.raises(ReviewError, match="no complete run"):
        write_cards(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    write_json(run.path("run.json"), smoke.facts("run.json") | {"complete": False})
    with pytest.raises(ReviewError, match="no complete run"):
        write_cards(str(run.folder), overwrite=True)
