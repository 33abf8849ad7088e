"""Stands in for the other package called ``tblib``, a helper of dask's ``distributed`` on PyPI.

``distributed`` imports ``tblib.pickling_support`` so that the traceback of a worker's error can be sent to the
client. In an environment with this project in it that name is ours, so ours has to answer. Without the helper
``distributed`` sends the traceback as text. (Its requirement ``tblib>=1.6`` is why this project's versions are years.)
"""

from __future__ import annotations


def install(*errors: BaseException) -> None:
    """Leave exceptions as they are; their tracebacks then travel as text."""
