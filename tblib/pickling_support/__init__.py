"""Stand-in for the other package called ``tblib``, a dependency of dask's ``distributed`` on PyPI.

``distributed`` imports ``tblib.pickling_support`` to send tracebacks of errors from workers to the client. If this
project is installed, that import finds this module, and tracebacks are sent as text. (The requirement ``tblib>=1.6``
of ``distributed`` is why this project's versions are years.)
"""


def install(*errors: BaseException) -> None:
    """Do nothing; tracebacks are then sent as text."""
