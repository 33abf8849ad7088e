"""A classifier from a Python path, package.module:object. Importing it runs its author's code."""

import importlib
import re
import sys
from pathlib import Path

from tblib.classifiers.protocol import Classifier, ClassifierError

PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
MEMBERS = ("scores", "name", "digest")


def is_python_path(model: str) -> bool:
    """Whether a text has the form package.module:object."""
    return bool(PATH.fullmatch(model)) and not Path(model).exists()


def imported(model: str, folder: Path) -> Classifier:
    """The object at a Python path; modules in `folder` are found as well as installed ones.

    Raises:
        ClassifierError: it cannot be imported, or is no classifier (`tblib.classifiers.protocol.Classifier`).
    """
    module, _, name = model.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a stranger's code raises anything
        raise ClassifierError(
            f"The model {model} cannot be imported ({type(error).__name__}: {error}). Give package.module:object, with "
            f"the module installed or in {folder}; or an ONNX file."
        ) from error
    lacking = [member for member in MEMBERS if not hasattr(found, member)]
    if isinstance(found, type) or lacking:
        what = "is a class; name an object made from it" if isinstance(found, type) else f"has no {lacking[0]}"
        raise ClassifierError(
            f"The model {model} {what}. A classifier has a name, a digest (texts), and scores(films), which returns "
            "one probability of the positive class per film; see tblib.classifiers.protocol.Classifier."
        )
    return found
