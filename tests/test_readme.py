"""The README's ten lines: from a zip to a trained CNN, without the notebooks."""

import re

from tblib.dataset import TBDataset
from tblib.model import CNN, films_of, logits_of
from tblib.system.files import ROOT


def test_ten_lines_go_from_a_zip_to_a_trained_cnn(demo, tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 10
    (tmp_path / "TB_database.zip").write_bytes(demo.read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(lines.replace("epochs=8", "epochs=1"), names)
    assert isinstance(names["cnn"], CNN)
    assert isinstance(names["test"], TBDataset)
    assert len(logits_of(names["cnn"], films_of(names["test"]), names["by"])) == (names["part"] == "test").sum()
