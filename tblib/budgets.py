"""Budgets: how much an audit trains, which rungs and remedies it climbs and compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tblib import TblibError
from tblib.remedies import IN_TRAINING, ON_FILMS

BLIND = "outside the lungs"  # the rung that the headline rests on: all of the film but its lungs
RUNGS = {  # name -> what the CNN sees
    "border 2 %": "the outermost 2 % of each side",
    "border 5 %": "the outermost 5 % of each side",
    "border 10 %": "the outermost 10 % of each side",
    "border 15 %": "the outermost 15 % of each side",
    "outside the centre": "all but the middle 60 % of both sides",
    BLIND: "all but the lung fields, whose outline stays visible",
    "lung shape only": "the outline of the lung fields and nothing else",
    "another film's lungs cut": "what lies within another film's lung fields",
    "lungs only": "what lies within the film's own lung fields",
    "whole film": "everything",
}
# The fast recipe at the CNN's own width.
DEEP = {"epochs": 7, "lr": 4e-4, "batch_size": 16, "small": 3 / 7, "width": 32}


class BudgetError(TblibError):
    """A budget that does not exist."""


@dataclass(frozen=True)
class Budget:
    """How much an audit trains.

    Attributes:
        seeds: of each rung of the ladder.
        rungs: of the ladder, keys of `RUNGS`.
        planted: strengths p at which cues are planted.
        replicas: plantings at each strength.
        controls: negative controls of each kind.
        films: that are planted into, at most, and edited for the model at hand.
        taught: films of the training part that rungs and remedies are trained on, at most.
        remedies: that are compared.
        cures: trainings of each.
        training: what the networks' training differs in from `trials.SMALL`.
    """

    seeds: int
    rungs: tuple[str, ...]
    planted: tuple[float, ...]
    replicas: int
    controls: int
    films: int
    taught: int
    remedies: tuple[str, ...]
    cures: int
    training: dict[str, Any]


BEST = "lung_crop+equalise+smooth+lungs_only+randomise"  # of the comparison in the README
SINGLE = ("none", *ON_FILMS, *IN_TRAINING)
JOINT = ("lung_crop+equalise", BEST.removesuffix("+randomise"), BEST)
BUDGETS = {
    "smoke": Budget(
        seeds=1,
        rungs=("border 5 %", "outside the lungs", "whole film"),
        planted=(0.8,),
        replicas=1,
        controls=1,
        films=40,
        taught=40,
        remedies=("none", "equalise"),
        cures=1,
        training={"epochs": 1},
    ),
    "quick": Budget(
        seeds=2,
        rungs=("border 5 %", "outside the lungs", "lung shape only", "lungs only", "whole film"),
        planted=(0.8,),
        replicas=3,
        controls=1,
        films=320,
        taught=400,
        remedies=("none", BEST),
        cures=3,
        training={},
    ),
    "standard": Budget(
        seeds=3,
        rungs=tuple(RUNGS),
        planted=(0.5, 0.8, 1.0),
        replicas=5,
        controls=5,
        films=480,
        taught=4000,
        remedies=SINGLE + JOINT,
        cures=3,
        training={},
    ),
    "full": Budget(
        seeds=5,
        rungs=tuple(RUNGS),
        planted=(0.5, 0.6, 0.8, 0.95, 1.0),
        replicas=10,
        controls=10,
        films=600,
        taught=4000,
        remedies=SINGLE + JOINT,
        cures=5,
        training=DEEP,
    ),
}


def budget_of(name: str) -> Budget:
    """The budget of a name.

    Raises:
        BudgetError: there is no such budget.
    """
    if name not in BUDGETS:
        raise BudgetError(f"There is no budget {name!r}; give {', '.join(BUDGETS)}.")
    return BUDGETS[name]
