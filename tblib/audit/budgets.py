"""Budgets: how much an audit trains, and which regions and mitigations it compares."""

from dataclasses import dataclass
from typing import Any

from tblib.arrays import TblibError
from tblib.audit.views import REGIONS
from tblib.mitigation import NAMES

# The settings of notebooks/parameters/fast.yml, at the CNN's own width.
DEEP = {"epochs": 7, "lr": 4e-4, "batch_size": 16, "low_resolution_share": 3 / 7, "width": 32}


class BudgetError(TblibError):
    """An unknown budget."""


@dataclass(frozen=True)
class Budget:
    """How much an audit trains, and which mitigations it compares.

    Attributes:
        references: reference networks for all cues (of a model trained elsewhere, half of them unexposed).
        outside_references: reference networks for all outside the lungs.
        films: at most so many training films of reference networks and planted cues, those with drawn lesions
            included, and films to edit.
        seeds: trainings per region.
        regions: regions of the ablation, keys of `REGIONS`.
        planted: strengths p at which cues are planted; none, and the stored control study stands for the power.
        replicas: plantings per cue and strength.
        controls: negative controls of each kind.
        trained_on: maximum number of training films for regions and mitigations.
        mitigations: mitigations that are compared; none, and the chapter says so.
        mitigation_seeds: trainings per mitigation.
        colour_seeds: trainings on films in colour, and as many in grey; none, and the chapter says so.
        training: training settings that differ from `tblib.audit.fits.SMALL`.
    """

    references: int
    outside_references: int
    films: int
    seeds: int
    regions: tuple[str, ...]
    planted: tuple[float, ...]
    replicas: int
    controls: int
    trained_on: int
    mitigations: tuple[str | None, ...]
    mitigation_seeds: int
    colour_seeds: int
    training: dict[str, Any]


LUNGS = "lung_crop+equalise+smooth+lungs_only"
# `make study-external` compares all of them, alone and joined, on films that only choose.
COMMON = (None, "lung_crop", "equalise", "randomise", "balance", "lesions")
ALL = (None, *NAMES, LUNGS, f"{LUNGS}+lesions")
BUDGETS = {
    "smoke": Budget(
        references=4, outside_references=3, films=40,
        seeds=1, regions=("border 5 %", "outside the lungs", "whole film"),
        planted=(0.8,), replicas=1, controls=1, trained_on=40,
        mitigations=(None, "equalise"), mitigation_seeds=1, colour_seeds=1, training={"epochs": 1},
    ),
    "quick": Budget(
        references=20, outside_references=0, films=180,
        seeds=1, regions=("outside the lungs", "whole film"),
        planted=(), replicas=0, controls=0, trained_on=240,
        mitigations=(), mitigation_seeds=0, colour_seeds=0, training={"low_resolution_share": 0.5},
    ),
    "standard": Budget(
        references=20, outside_references=20, films=480,
        seeds=3, regions=tuple(REGIONS),
        planted=(0.65, 0.8), replicas=8, controls=3, trained_on=4000,
        mitigations=COMMON, mitigation_seeds=3, colour_seeds=3, training={},
    ),
    "full": Budget(
        references=20, outside_references=20, films=600,
        seeds=5, regions=tuple(REGIONS),
        planted=(0.65, 0.8, 0.95), replicas=10, controls=10, trained_on=4000,
        mitigations=ALL, mitigation_seeds=5, colour_seeds=5, training=DEEP,
    ),
}  # fmt: skip


def budget_of(name: str) -> Budget:
    """The budget called `name`.

    Raises:
        BudgetError: there is no such budget.
    """
    if name not in BUDGETS:
        raise BudgetError(f"There is no budget {name!r}; give {', '.join(BUDGETS)}.")
    return BUDGETS[name]
