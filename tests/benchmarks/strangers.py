"""Do verdicts on other people's models hold? Networks other than tblib's, of known history, audited as ONNX files.

The films are those of the control studies (`tests.benchmarks.controls`): SYNTHETIC databases in which every cue goes
with one class. torchvision's ResNet-18 and MobileNetV3, and a plain network as in a Keras tutorial, are trained from
scratch on other versions of these films: without any cue, with every cue at random, or with one cue at p = 0.8 and the
others at random. Each is exported, given a spec, and audited as a model that was trained elsewhere.

An interrupted study goes on: each network and each verdict is kept. ``python -m tests.benchmarks.strangers``
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
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

from tblib.arrays import Pixels
from tblib.audit import power, references
from tblib.audit.budgets import BUDGETS, Budget
from tblib.audit.edit_effects import BOTH, effects_of
from tblib.audit.edited import edited_films
from tblib.audit.effects import plain
from tblib.audit.fits import area
from tblib.audit.study import Audit, open_audit
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.opened import open_given
from tblib.classifiers.protocol import Classifier, file_logits
from tblib.classifiers.trained import train_run
from tblib.evaluate import evaluate
from tblib.films.cues import EDITED
from tblib.films.database import open_database
from tblib.films.film import grey_of, resized
from tblib.metrics import wilson
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.system.files import replacing, write_json
from tblib.train import Training
from tests.benchmarks.controls import FILMS, NEVER, RANDOM, Network, called_used, clustered, drawn, films_zip, shares
from tests.benchmarks.films import FOLDER, SIZE

HERE = FOLDER / "strangers"
SETS = (2, 5)
STRENGTH = power.READ_AT
WAYS = {"standard": replace(BUDGETS["standard"], films=FILMS, outside_references=0), "quick": BUDGETS["quick"]}
OF_FILMS = (  # properties of an audit that do not depend on its model or budget
    *("films", "images", "grey", "database", "train", "held_out_rows", "target", "group", "groups", "masks"),
    *("known_masks", "baseline_scores", "associations", "existing", "given_others"),
)
FORE = 3_000_000  # version of the films that strangers are trained on: none of those of the control studies
MEAN, SD = 0.449, 0.226  # of grey levels 0 … 1, as in torchvision's recipes


class Plain(nn.Module):
    """Three blocks of one convolution, two dense layers, one logit: the network of many tutorials."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in pairwise((channels, 16, 32, 64)):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, films: Tensor) -> Tensor:
        """Logits (B, 1) of films (B, C, 64, 64)."""
        logits: Tensor = self.layers(films)
        return logits


class Kind(NamedTuple):
    """An architecture: how it is made, its side and channels, epochs, learning rate, and the spec's output."""

    make: Callable[[], nn.Module]
    side: int
    channels: int
    epochs: int
    rate: float
    output: str


KINDS = {
    "ResNet-18, 96 px": Kind(lambda: torchvision.models.resnet18(num_classes=2), 96, 3, 10, 5e-4, "logits"),
    "MobileNetV3, 96 px": Kind(lambda: torchvision.models.mobilenet_v3_small(num_classes=2), 96, 3, 20, 1e-3, "logits"),
    "plain, 64 px": Kind(lambda: Plain(3), 64, 3, 12, 1e-3, "logit"),
    "plain, 64 px, grey": Kind(lambda: Plain(1), 64, 1, 12, 1e-3, "logit"),
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


def planned() -> list[Stranger]:
    """All networks: each architecture without a cue, with all at random, and with each cue, in one set or the other."""
    found = []
    for place, number in enumerate(SETS):
        histories = [Network(kind, "", 0.0, 0, False) for kind in (NEVER, RANDOM)]
        histories += [Network("uses one cue", cue.name, STRENGTH, 0, False) for cue in EDITED[place :: len(SETS)]]
        found += [Stranger(number, kind, history) for history in histories for kind in KINDS]
    return found


# --- training -----------------------------------------------------------------------------------------------------


def training_films(audit: Audit, stranger: Stranger, side: int, channels: int) -> Pixels:
    """Uint8 (M, side, side, C): the audit's training films in the version that a network sees."""
    files, share = audit.films["file"].iloc[np.flatnonzero(audit.train)], shares(stranger.network, stranger.number)
    places = [int(file.split("-")[-1].split(".")[0]) for file in files]
    version = FORE + planned().index(stranger)

    def of(place: int) -> Pixels:
        film = drawn(stranger.number, place, share, version)
        return resized(grey_of(film)[..., None].repeat(3, 2) if channels == 1 else film, side)[..., :channels]

    return np.stack(Parallel(n_jobs=-1)(delayed(of)(place) for place in places))


def trained(audit: Audit, stranger: Stranger) -> Classifier:
    """The network as an ONNX classifier; it is trained and exported once."""
    path, spec = (HERE / f"{stranger.name}.{ending}" for ending in ("onnx", "yml"))
    kind = KINDS[stranger.kind]
    if not spec.exists():
        torch.manual_seed(planned().index(stranger))
        network = kind.make()
        images = training_films(audit, stranger, kind.side, kind.channels)
        films = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        _fit(network, (films - MEAN) / SD, torch.from_numpy(audit.target[audit.train]), kind)
        _export(network, kind, path)
        told = {"output": kind.output, "scale": 1 / 255, "mean": MEAN, "sd": SD, "layout": "nchw", "seen": "unknown"}
        told |= {"positive_index": 1, "channels": "grey" if kind.channels == 1 else "rgb", "name": stranger.kind}
        with replacing(spec) as part:
            part.write_text(yaml.safe_dump(told), encoding="utf-8")
    return open_given(str(path), str(spec)).classifier


def _fit(network: nn.Module, films: Tensor, target: Tensor, kind: Kind) -> None:
    network.train()
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
    film, films = torch.zeros(2, kind.channels, kind.side, kind.side), torch.export.Dim("films")
    with replacing(path) as part:
        torch.onnx.export(
            network.eval(), (film,), str(part), dynamo=True, external_data=False, dynamic_shapes=({0: films},)
        )


# --- the audit ----------------------------------------------------------------------------------------------------


def audit_of(number: int, channels: int) -> Audit:
    """The audit of a set's database for models that see this many channels; its own model is unused."""
    run = open_run(str(HERE / f"set-{number}-{channels}"))
    if not run.path("metrics.json").exists():
        database = open_database(films_zip(number))
        save_catalogue(run, build_catalogue(database))
        prepare(run, database, SIZE, number, channels=channels)
        train_run(run, Training(epochs=1, width=4, seed=number))
        evaluate(run, 50, number)
    return open_audit(run, "standard", None, None, 400, number)


def of_model(audit: Audit, model: Classifier, budget: Budget) -> Audit:
    """The audit of the same films for another model; what depends on the films alone is not computed again."""
    own = replace(audit, model=model, budget=budget)
    for name in OF_FILMS:
        own.__dict__[name] = getattr(audit, name)
    return own


def judged(audit: Audit, stranger: Stranger) -> Iterator[dict[str, Any]]:
    """The verdicts of both budgets on a network, as those of a model that was trained elsewhere."""
    model = trained(audit, stranger)
    held_out = audit.held_out_with(file_logits(model, audit.database, audit.films["file"][~audit.train].tolist()))
    audits = {way: of_model(audit, model, budget) for way, budget in WAYS.items()}
    films = edited_films(audits["quick"], False)  # all held-out films, of which there are fewer than any budget edits
    for way, own in audits.items():
        others = references.measure(own, films, False)
        scored = {each: (pairs.after, pairs.before) for each, pairs in films.pairs.items()}
        effects = {cue.name: effects_of(own, films, others, cue.name, scored) for cue in EDITED}
        used = called_used(own, effects)
        yield {
            "way": way,
            "set": stranger.number,
            "architecture": stranger.kind,
            **stranger.network._asdict(),
            "auroc": area(held_out),
            "used": used,
            "effects": {name: ways[BOTH] and plain(ways[BOTH]) for name, ways in effects.items() if BOTH in ways},
        }


def study() -> None:
    """Train, export and judge all networks; finished ones are kept."""
    HERE.mkdir(parents=True, exist_ok=True)
    audits: dict[tuple[int, int], Audit] = {}
    for stranger in tqdm(planned(), desc="networks"):
        file, place = HERE / f"{stranger.name}.json", (stranger.number, KINDS[stranger.kind].channels)
        if not file.exists():
            audits[place] = audits.get(place) or audit_of(*place)
            write_json(file, {"rows": list(judged(audits[place], stranger))})


# --- tables -------------------------------------------------------------------------------------------------------


def results(way: str) -> list[dict[str, Any]]:
    """All verdicts so far by one budget."""
    files = [HERE / f"{stranger.name}.json" for stranger in planned()]
    rows = [row for file in files if file.exists() for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]
    return [row for row in rows if row["way"] == way]


def false_alarms(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Cues that a network cannot have learnt, called USED or DECISIVE: one row per history, and per architecture."""
    lines = []
    for title, chosen in (
        *((kind, [row for row in rows if row["kind"] == kind]) for kind in (NEVER, RANDOM, "uses one cue")),
        *((name, [row for row in rows if row["architecture"] == name]) for name in KINDS),
    ):
        hits = [[used for cue, used in row["used"].items() if cue != row["cue"]] for row in chosen]
        if hits:
            wrong = sorted({cue for row in chosen for cue, used in row["used"].items() if used and cue != row["cue"]})
            share = clustered(hits).text(percent=True)
            lines.append((title, len(hits), sum(map(len, hits)), sum(map(sum, hits)), share, ", ".join(wrong)))
    return pd.DataFrame(
        lines, columns=["history or architecture", "networks", "verdicts", "called used", "share (95 %)", "which"]
    )


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
    study()
    for way in WAYS:
        tables = (false_alarms(results(way)), power_table(results(way)))
        print(f"\nBudget {way}", *(table.to_string(index=False) for table in tables), sep="\n\n")
