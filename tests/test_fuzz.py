"""Whatever is done to a picture file, it stays a film or becomes a sentence."""

import pytest
from fuzz import mutated, seeds, told
from numpy.random import default_rng

SEEDS = seeds()
EACH = 25  # mutations of each; python -m tests.fuzz makes thousands


@pytest.mark.parametrize("kind", SEEDS)
def test_a_mutated_file_is_a_film_or_a_sentence(kind, capfd):
    assert told(SEEDS[kind]) == "film"
    random = default_rng(list(kind.encode()))
    outcomes = {told(mutated(SEEDS[kind], random)) for _ in range(EACH)}
    capfd.readouterr()  # libpng tells of its errors there
    assert outcomes <= {"film", "sentence"}
