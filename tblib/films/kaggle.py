"""The Kaggle database: from the inputs of a Kaggle notebook, or downloaded."""

from pathlib import Path

from tblib.films.database import DatabaseError

KAGGLE_DATASET = "tawsifurrahman/tuberculosis-tb-chest-xray-dataset"
KAGGLE_FOLDER = "TB_Chest_Radiography_Database"  # the folder with the films inside it
KAGGLE_INPUT = Path("/kaggle/input")  # inputs of a notebook on Kaggle
KAGGLE_ABOVE = 3  # maximum number of folders between that and a database: datasets/<owner>/, and one of any other name


def mounted() -> Path | None:
    """The database's folder or zip among a Kaggle notebook's inputs; None elsewhere, or if it was not added."""
    names = [name + ending for name in (KAGGLE_DATASET.split("/")[1], KAGGLE_FOLDER) for ending in ("", ".zip")]
    patterns = ("*/" * above + name for above in range(KAGGLE_ABOVE + 1) for name in names)
    return next((path for pattern in patterns for path in sorted(KAGGLE_INPUT.glob(pattern))), None)


def download() -> Path:
    """Download the database and return its folder.

    Raises:
        DatabaseError: the download failed, or kagglehub is not installed.
    """
    by_hand = (
        "Get it by hand: download the zip from kaggle.com/datasets/" + KAGGLE_DATASET + ", put it into data/, "
        "and run again with --data data/<file>.zip. In a notebook on Kaggle, add it to the notebook's inputs instead."
    )
    try:
        import kagglehub
    except ImportError:
        raise DatabaseError(f"--data kaggle needs the package kagglehub: pip install kagglehub. {by_hand}") from None
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except Exception as error:  # kagglehub raises errors of its HTTP library: no network, permission or space
        raise DatabaseError(f"Kaggle did not hand over the database ({error}). {by_hand}") from error
