"""What is told before the first step, not after an hour of work: values, models and databases that cannot be used.

What is checked first is what takes least time; no check needs torch, but for a model of somebody else.
"""

from collections.abc import Callable
from typing import Any

from tblib.arrays import TblibError
from tblib.classifiers.choice import read_choice
from tblib.films.database import Database, data_path, open_database
from tblib.report.declared import ParameterError, choices_of
from tblib.report.parameters import Parameters
from tblib.report.stale import open_named
from tblib.system.text import did_you_mean


def refuse_early(parameters: dict[str, Parameters], running: set[str], data: str) -> None:
    """Check what the steps in `running` need: their parameters by step, and the database `data`.

    Raises:
        MitigationError, BudgetError: a mitigation or a budget does not exist.
        ParameterError: two parameters contradict each other.
        ClassifierError, SpecError, ModelError: a model of somebody else cannot be used.
        DatabaseError, DemoError, AnnotationsError, ExternalError: a database or a table cannot be used.
        ChoiceError: the record of a choice cannot be used.
        JobError: no scheduler answers at its address.
    """
    refuse_values(parameters)
    _refuse_model(parameters)
    if "eda" in running:
        _refuse_data(parameters["eda"] | {"data": data})
    if "training" in running and parameters["training"]["chosen_by"]:
        read_choice(parameters["training"]["chosen_by"])
    if "shortcuts" in running:
        _refuse_external(parameters["shortcuts"], data)
        _refuse_scheduler(parameters["shortcuts"]["scheduler"])
    if "eda" in running:  # last, as it may draw or download the database
        open_named(parameters["eda"] | {"data": data})


def refuse_values(parameters: dict[str, Parameters]) -> None:
    """Raise `MitigationError` or `BudgetError` if a mitigation or the budget does not exist."""
    from tblib.audit.budgets import budget_of
    from tblib.mitigation import chosen

    for step in ("preparation", "training"):
        _hinting(chosen, "mitigation", parameters[step]["mitigation"])
    _hinting(budget_of, "budget", parameters["shortcuts"]["budget"])


def _hinting(check: Callable[[Any], Any], name: str, value: str | None) -> None:
    """Call a check of a parameter's value; to its error the choice is added that was probably meant."""
    try:
        check(value)
    except TblibError as error:
        known = choices_of(name)
        wrong = next((part for part in (value or "").split("+") if part not in known), "")
        raise type(error)(f"{error}{did_you_mean(wrong, known)}") from None


def _refuse_model(parameters: dict[str, Parameters]) -> None:
    """Raise `ClassifierError`, `SpecError` or `ModelError` if a model of somebody else cannot be used."""
    model, spec = (parameters["training"][name] for name in ("model", "spec"))
    if spec and not model:
        raise ParameterError("The parameter spec belongs to a model of somebody else; name it in the parameter model.")
    if model:
        from tblib.classifiers.opened import open_given, refuse_prepared  # imports torch

        of_films, given = parameters["preparation"], open_given(model, spec)
        refuse_prepared(given, of_films["channels"], of_films["mitigation"], "give -p")
        _refuse_point(parameters["prediction"]["operating_point"], given.spec.threshold)


def _refuse_point(point: str | None, own: float) -> None:
    """Raise `ParameterError` if the operating point is a threshold that a model of somebody else does not have."""
    if point == "0.5" and own != 0.5:
        raise ParameterError(
            f"The parameter operating_point is 0.5, and the model's own threshold is {own:g} by its spec. Give "
            "-p operating_point none, for its own."
        )


def _refuse_data(settings: Parameters) -> None:
    """Raise `DatabaseError` or `AnnotationsError` if a database or a table of the first step cannot be used."""
    from tblib.catalogue import WORDS

    if settings["data"] not in WORDS["data"]:
        open_named(settings)
    if settings["beside"]:
        open_database(data_path(settings["beside"]), settings["negative"], settings["positive"])
    from tblib.eda.detectors import read_annotations

    read_annotations(data_path(settings["films_read"]))


def _refuse_external(settings: Parameters, data: str) -> None:
    """Raise `ExternalError` if films of other hospitals cannot be used, as far as is known before they are decoded."""
    reported, selection = settings["external"], settings["selection"]
    if not (reported or selection):
        return
    from tblib.audit import external

    own, places = data_path(data).resolve(), set()
    for path in external.paths(reported) + ([selection] if selection else []):
        database = external.find(path)
        place = database.path.resolve()
        if place == own:
            raise external.ExternalError(
                f"The external database {path} is the one that the run trains on; leave it out of the parameters "
                "external and selection."
            )
        if place in places:
            raise external.ExternalError(
                f"The database {path} is named twice in the parameters external and selection. A set that chooses "
                "cannot report: leave it out of one of them."
            )
        places.add(place)
        if min(_films(database)) < external.LEAST:
            negative, positive = _films(database)
            raise external.ExternalError(
                f"The external database {path} has {negative} negative and {positive} positive films; each class "
                f"needs {external.LEAST} or more."
            )


def _films(database: Database) -> list[int]:
    """Films of the negative and the positive class."""
    labels = list(database.labels.values())
    return [labels.count(label) for label in database.classes]


def _refuse_scheduler(scheduler: str | None) -> None:
    """Raise `JobError` if no scheduler answers at its address."""
    if scheduler:
        from tblib.audit.jobs import need_scheduler

        need_scheduler(scheduler)
