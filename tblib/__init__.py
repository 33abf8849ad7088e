"""tblib: what is a chest film classifier's accuracy made of?

The core modules are in this folder itself: run folder, catalogue, preparation, data set, CNN, training and evaluation.
The subpackages are named after their purpose and listed in ``README.md``. A package imports only from those listed
before it, and the files of a package likewise (``tests/test_house.py``).
"""

from tblib.arrays import TblibError

__all__ = ["TblibError"]
__version__ = "2026.11"
