"""tblib: what is a chest film classifier's accuracy made of?

The modules are rooms that data walks through in one direction::

    run · film · box · metrics → chest · edits → phantom · markers → artefacts · twins → catalogue → survey → readings
        · prepare → figures → dataset → model → train → evaluate → shortcuts → findings → predict → report → workflow

A module imports only from rooms before it. Only ``dataset``, ``model``, ``train``, ``evaluate`` and ``predict``
import torch, so the exploratory notebook opens at once.
"""

__version__ = "0.1.0"

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis."


class TblibError(Exception):
    """Base of every error tblib raises on purpose; its text is a sentence for a person.

    Jupyter shows only that sentence: the person reading it needs to know what to do, not where in
    tblib the problem was noticed.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython calls this in place of printing a traceback."""
        return [f"{type(self).__name__}: {self}"]
