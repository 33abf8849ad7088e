"""A run folder: files whole or not at all, and a sentence where one is missing."""

import pandas as pd
import pytest

from tblib.run import STEPS, MissingInputError, Run, RunError, open_run, run_folder
from tblib.system.files import ROOT, replacing, write_json, write_table


def test_a_file_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "figures.json"
    write_json(path, {"auroc": 0.9})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"auroc": float("nan")})
    with pytest.raises(UnicodeEncodeError), replacing(path) as part:
        part.write_text("half" + chr(0xDC80), encoding="utf-8")
    assert Run(tmp_path).facts("figures.json") == {"auroc": 0.9}
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_texts_of_a_table_come_back_as_they_were_written(tmp_path):
    table = pd.DataFrame({"file": ["NA", "1.png"], "label": ["None", "5"], "problem": ["", ""], "hue": [None, None]})
    write_table(tmp_path / "films.csv", table)
    back = Run(tmp_path).table("films.csv")
    assert back["file"].tolist() == ["NA", "1.png"]
    assert back["label"].tolist() == ["None", "5"]
    assert back["problem"].tolist() == ["", ""]
    assert back["hue"].isna().all()


@pytest.mark.parametrize("step", [step for step in STEPS if step.writes], ids=lambda step: step.name)
def test_a_missing_file_names_the_step_that_makes_it(tmp_path, step):
    for file in step.writes:
        with pytest.raises(MissingInputError, match=f"--only {step.name}") as error:
            Run(tmp_path / "mine").need(file)
        assert step.notebook in str(error.value)
        assert f"--name {tmp_path / 'mine'}" in str(error.value)  # "mine" alone would be another run, in reports/


def test_every_file_a_step_reads_is_written_by_an_earlier_one():
    written: set[str] = set()
    for step in STEPS:
        assert set(step.reads) <= written, step.name
        written |= set(step.writes)


def test_a_name_is_a_folder_in_reports_and_a_path_is_itself(tmp_path):
    assert run_folder("demo") == ROOT / "reports" / "demo"
    assert run_folder(str(tmp_path)) == tmp_path
    for name in ("", ".", ".."):
        with pytest.raises(RunError, match="cannot be called"):
            run_folder(name)


def test_a_command_names_the_run_as_the_command_line_would_find_it(tmp_path):
    assert Run(ROOT / "reports" / "mine").command("--only", "eda") == "python -m tblib run --name mine --only eda"
    spaced = tmp_path / "my run"
    assert Run(spaced).command() == f"python -m tblib run --name '{spaced}'"
    for run in (Run(ROOT / "reports" / "mine"), Run(spaced)):
        assert run_folder(run.name) == run.folder


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written to"):
        open_run(str(tmp_path / "file" / "run"))
    assert open_run(str(tmp_path / "new" / "run")).folder.is_dir()
