"""Do verdicts on other people's models hold? Networks other than tblib's, of known history, audited as ONNX files.

The films are drawn as those of the control studies (`tests.benchmarks.controls`): SYNTHETIC databases in which every
cue goes with one class. torchvision's ResNet-18 and MobileNetV3, and a plain network as in a Keras tutorial, are
trained from scratch on films of other chests: without any cue, with every cue at random, or with one cue at p = 0.8 and
the others at random. Each is exported, given a spec, and judged as a model that was trained elsewhere.

An interrupted study goes on: each network is kept. ``python -m tests.benchmarks.strangers [set …]``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torchvision
import yaml
from joblib import Parallel, delayed
from torch import Tensor, nn
from tqdm import tqdm

from tblib.arrays import Ints, Pixels
from tblib.audit import power, references
from tblib.audit.budgets import BUDGETS, Budget
from tblib.audit.edit_effects import BOTH, effects_of
from tblib.audit.edited import edited_films
from tblib.audit.effects import plain
from tblib.audit.fits import area
from tblib.audit.study import Audit, open_audit
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.opened import open_given
from tblib.classifiers.protocol import Classifier, file_logits, logits
from tblib.classifiers.trained import train_run
from tblib.devices import pick_device
from tblib.evaluate import evaluate
from tblib.films.cues import EDITED
from tblib.films.database import open_database
from tblib.films.film import resized
from tblib.metrics import wilson
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.system.files import replacing, write_json
from tblib.train import Training
from tests.benchmarks.controls import ALARMS, NEVER, RANDOM, Network, alarms, called_used, drawn, films_zip, shares
from tests.benchmarks.films import FOLDER, SIZE

HERE = FOLDER / "strangers"
SETS = (2, 5)
TRAINED_ON = 400  # films of other chests
STRENGTH = power.READ_AT
FILMS = 900  # of a set: its held-out fifth is what the budget `quick` edits, and about what the real sample has
WAYS = {"standard": replace(BUDGETS["standard"], outside_references=0), "quick": BUDGETS["quick"]}
FORE = 3_000_000  # versions of the films that strangers are trained on: none of those of the control studies
OF_FILMS = (  # properties of an audit that do not depend on its budget
    *("films", "images", "grey", "database", "train", "held_out_rows", "target", "group", "groups", "masks"),
    *("known_masks", "baseline_scores", "associations", "existing", "given_others"),
)
MEAN, SD = 0.449, 0.226  # of grey levels 0 … 1, as in torchvision's recipes


class Plain(nn.Module):
    """Three blocks of one convolution, two dense layers, one logit: the network of many tutorials."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in pairwise((3, 16, 32, 64)):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, films: Tensor) -> Tensor:
        """Logits (B, 1) of films (B, 3, 64, 64)."""
        logits: Tensor = self.layers(films)
        return logits


class Kind(NamedTuple):
    """An architecture: how it is made, its side, epochs, learning rate, and the spec's output."""

    make: Callable[[], nn.Module]
    side: int
    epochs: int
    rate: float
    output: str


def mobile() -> nn.Module:
    """MobileNetV3 with the usual momentum of batch statistics: torchvision's 0.01 takes more steps than there are here,
    and the network would give all films the same score."""
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1)
    network: nn.Module = torchvision.models.mobilenet_v3_small(num_classes=2, norm_layer=norm)
    return network


KINDS = {
    "ResNet-18, 96 px": Kind(lambda: torchvision.models.resnet18(num_classes=2), 96, 10, 5e-4, "logits"),
    "MobileNetV3, 96 px": Kind(mobile, 96, 20, 1e-3, "logits"),
    "plain, 64 px": Kind(Plain, 64, 12, 1e-3, "logit"),
}


class Stranger(NamedTuple):
    """One network to judge: set of films, architecture, and its history."""

    number: int
    kind: str
    network: Network

    @property
    def name(self) -> str:
        """As a file name."""
        words = [self.kind, self.network.kind, self.network.cue, str(self.number)]
        return "".join(letter if letter.isalnum() else "-" for letter in " ".join(words))


HISTORIES = [
    *(Network(kind, "", 0.0, 0, False) for kind in (NEVER, RANDOM)),
    *(Network("uses one cue", cue.name, STRENGTH, 0, False) for cue in EDITED),
]


def planned(number: int) -> list[Stranger]:
    """The networks that are judged on a set: each architecture with each history."""
    return [Stranger(number, kind, network) for network in HISTORIES for kind in KINDS]


# --- training -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def training_films(number: int, network: Network) -> tuple[list[Pixels], Tensor]:
    """Films uint8 (512, 512, 3) as networks of this history see them, of chests that are not in the set; targets."""
    places, share = range(FILMS, FILMS + TRAINED_ON), shares(network, number)
    version = FORE + HISTORIES.index(network)
    films = Parallel(n_jobs=-1)(delayed(drawn)(number, place, share, version) for place in places)
    return films, torch.tensor([place % 2 for place in places])


def trained(stranger: Stranger) -> Classifier:
    """The network as an ONNX classifier; it is trained and exported once."""
    path, spec = (HERE / f"{stranger.name}.{ending}" for ending in ("onnx", "yml"))
    kind = KINDS[stranger.kind]
    if not spec.exists():
        torch.manual_seed(planned(stranger.number).index(stranger))
        network = kind.make()
        drawn_films, target = training_films(stranger.number, stranger.network)
        seen = np.stack([resized(film, kind.side) for film in drawn_films])
        films = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 255
        _fit(network, (films - MEAN) / SD, target, kind)
        _export(network, kind, path)
        told = {"output": kind.output, "scale": 1 / 255, "mean": MEAN, "sd": SD, "layout": "nchw", "seen": "unknown"}
        told |= {"positive_index": 1, "channels": "rgb", "name": stranger.kind}
        with replacing(spec) as part:
            part.write_text(yaml.safe_dump(told), encoding="utf-8")
    return open_given(str(path), str(spec)).classifier


def _fit(network: nn.Module, films: Tensor, target: Tensor, kind: Kind) -> None:
    network.train().to(pick_device())
    films, target = films.to(pick_device()), target.to(pick_device())
    optimiser = torch.optim.Adam(network.parameters(), kind.rate)
    steps = -(-len(films) // 24) * kind.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(kind.epochs):
        for rows in torch.randperm(len(films)).split(24):
            if len(rows) < 2:  # batch normalisation takes two
                continue
            batch = torch.roll(films[rows], tuple(torch.randint(-4, 5, (2,)).tolist()), (2, 3))
            outputs = network(batch)
            if kind.output == "logit":
                loss = nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], target[rows].float())
            else:
                loss = nn.functional.cross_entropy(outputs, target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def _export(network: nn.Module, kind: Kind, path: Path) -> None:
    film, films = torch.zeros(2, 3, kind.side, kind.side), torch.export.Dim("films")
    with replacing(path) as part:
        torch.onnx.export(
            network.eval().cpu(), (film,), str(part), dynamo=True, external_data=False, dynamic_shapes=({0: films},)
        )


# --- the audit ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asking(Audit):
    """An audit that asks several models about each edited film, so that films are edited once for all of them."""

    models: tuple[Classifier, ...] = ()

    def logits_of(self, films: Sequence[Pixels], rows: Ints) -> Any:
        """Object (n,): for each film the logits float (K,) of all models."""
        names = self.films["file"].iloc[rows].tolist()
        answers = np.empty(len(films), object)
        for place, own in enumerate(np.array([logits(model, films, names) for model in self.models]).T):
            answers[place] = own
        return answers


def audit_of(number: int, models: Sequence[Classifier]) -> Asking:
    """The audit of a set's database for models that see colour; the run's own model is unused."""
    run = open_run(str(HERE / f"set-{number}"))
    if not run.path("metrics.json").exists():
        database = open_database(films_zip(number, HERE, FILMS))
        save_catalogue(run, build_catalogue(database))
        prepare(run, database, SIZE, number, channels=3)
        train_run(run, Training(epochs=1, width=4, seed=number))
        evaluate(run, 50, number)
    audit = open_audit(run, "quick", None, None, 400, number)
    return Asking(**{field.name: getattr(audit, field.name) for field in fields(audit)}, models=tuple(models))


def with_budget(audit: Asking, budget: Budget) -> Asking:
    """The same audit by another budget; what depends on the films alone is not computed again."""
    own = replace(audit, budget=budget)
    for name in OF_FILMS:
        own.__dict__[name] = getattr(audit, name)
    return own


def judged(audit: Asking, strangers: list[Stranger]) -> Iterator[dict[str, Any]]:
    """The verdicts of both budgets on each network, as on models that were trained elsewhere."""
    files = audit.films["file"][~audit.train].tolist()
    areas = [area(audit.held_out_with(file_logits(model, audit.database, files))) for model in audit.models]
    films = edited_films(audit, False)  # held-out films, of which there are no more than either budget edits
    asked = {way: (np.stack([*pairs.after]), np.stack([*pairs.before])) for way, pairs in films.pairs.items()}
    for way, budget in WAYS.items():
        own = with_budget(audit, budget)
        others = references.measure(own, films, False)
        for k, stranger in enumerate(strangers):
            scored = {each: (after[:, k], before[:, k]) for each, (after, before) in asked.items()}
            effects = {cue.name: effects_of(own, films, others, cue.name, scored) for cue in EDITED}
            known = {"way": way, "set": stranger.number, "architecture": stranger.kind, **stranger.network._asdict()}
            together = {name: plain(one) for name, ways in effects.items() if (one := ways.get(BOTH))}
            yield known | {"auroc": areas[k], "used": called_used(own, effects), "effects": together}


def study(number: int) -> None:
    """Train, export and judge the networks of a set; what is finished is kept."""
    HERE.mkdir(parents=True, exist_ok=True)
    if not verdicts(number).exists():
        models = [trained(stranger) for stranger in tqdm(planned(number), desc=f"networks of set {number}")]
        write_json(verdicts(number), {"rows": list(judged(audit_of(number, models), planned(number)))})


def verdicts(number: int) -> Path:
    """The file with the verdicts on the networks of a set."""
    return HERE / f"verdicts-{number}.json"


# --- tables -------------------------------------------------------------------------------------------------------


def results(way: str) -> list[dict[str, Any]]:
    """All verdicts so far by one budget."""
    files = sorted(HERE.glob("verdicts-*.json"))
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]
    return [row for row in rows if row["way"] == way]


def false_alarms(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Cues that a network cannot have learnt, called USED or DECISIVE: one row per history, and per architecture."""
    parts = {kind: [row for row in rows if row["kind"] == kind] for kind in (NEVER, RANDOM, "uses one cue")}
    parts |= {name: [row for row in rows if row["architecture"] == name] for name in KINDS}
    lines = [alarms(title, chosen, lambda row, cue: cue != row["cue"]) for title, chosen in parts.items()]
    return pd.DataFrame([line for line in lines if line], columns=("history or architecture", *ALARMS[1:]))


def power_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Planted cues that were found: one row per cue, then per architecture, then all."""
    own = [row for row in rows if row["cue"]]
    parts = {cue.name: [row for row in own if row["cue"] == cue.name] for cue in EDITED}
    parts |= {name: [row for row in own if row["architecture"] == name] for name in KINDS} | {"all": own}
    lines = []
    for title, chosen in parts.items():
        hits = sum(row["used"][row["cue"]] for row in chosen)
        lines.append((title, len(chosen), hits, wilson(hits, len(chosen)).text(percent=True) if chosen else "–"))
    return pd.DataFrame(lines, columns=["planted at p = 0.8", "networks", "found", "share (95 %)"])


if __name__ == "__main__":
    for number in [int(word) for word in sys.argv[1:]] or SETS:
        study(number)
    for way in WAYS:
        tables = (false_alarms(results(way)), power_table(results(way)))
        print(f"\nBudget {way}", *(table.to_string(index=False) for table in tables), sep="\n\n")
