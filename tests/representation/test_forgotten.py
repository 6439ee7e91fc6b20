"""The standard error of what was forgotten."""

import numpy as np
import pytest

from rxf.representation.masked_lm import MaskedBits, forgotten


def test_the_error_with_as_many_masks_in_each_row_is_that_of_a_mean() -> None:
    """Each row's mean is then one draw: s / sqrt(n), s with n - 1 below the line."""
    before, after = [2.0, 4.0, 3.0], [5.0, 4.5, 6.0]
    found = forgotten(MaskedBits(before, [2, 2, 2]), MaskedBits(after, [2, 2, 2]))
    draws = (np.array(after) - np.array(before)) / 2
    assert found.bits == pytest.approx(draws.mean())
    assert found.error == pytest.approx(draws.std(ddof=1) / np.sqrt(3))
