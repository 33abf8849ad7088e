"""tblib: what is a chest film classifier's accuracy made of?

The modules are rooms that data walks through in one direction::

    pickling_support · processes · shortages · text · schemas → run · notebooks · codecs · depth → pictures → greys
        → dicom → film → database · box → metrics → chest · edits → phantom · markers → artefacts → twins → catalogue
        → survey → readings → weights → lungs → remedies → budgets → prepare → probes → verdicts → figures · exhibits
        → dataset → model → train → evaluate → suspects → trials → jobs → external · saliency → audit → cures
        → shortcuts → findings · evidence → what_if · cautions → predict → panel → parameters → report → workflow
        → page → serve

A module imports only from rooms before it. The exploratory notebook and the report need no torch, so they open at once:
only ``weights``, ``lungs``, what stands between ``figures`` and ``findings``, and ``what_if`` to ``panel`` import it.
"""

__version__ = "2026.11"

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis."


class TblibError(Exception):
    """Base of every error tblib raises on purpose; its text is a sentence for a person.

    Jupyter shows only that sentence: the person reading it needs to know what to do, not where in
    tblib the problem was noticed.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython calls this in place of printing a traceback."""
        return [f"{type(self).__name__}: {self}"]
