# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools

import numpy as np
import pytest
from harness.risk_coverage import risk_coverage

RISK = [0.0, 0.2, 0.4, 1.0]
# Mean risk of the best 1, 2, 3 and 4 of them.
BEST = [0.0, 0.1, 0.2, 0.4]
WORST = [1.0, 0.7, 1.6 / 3, 0.4]


def test_confidence_in_the_order_of_the_risks_is_optimal() -> None:
    curve = risk_coverage([4, 3, 2, 1], RISK)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx(BEST)
    assert curve.area == curve.optimal == pytest.approx(np.mean(BEST))
    assert curve.excess == pytest.approx(0.0, abs=1e-15)


def test_confidence_in_the_reversed_order_is_worst() -> None:
    curve = risk_coverage([1, 2, 3, 4], RISK)
    assert curve.risk.tolist() == pytest.approx(WORST)
    assert curve.excess == pytest.approx(np.mean(WORST) - np.mean(BEST))
    assert curve.area == max(risk_coverage(order, RISK).area for order in itertools.permutations(range(4)))


def test_tied_cases_count_as_the_mean_over_their_orders() -> None:
    tied = risk_coverage([2, 1, 1, 1], [0.5, 0.0, 0.3, 0.9])
    orders = [risk_coverage([4, *o], [0.5, 0.0, 0.3, 0.9]) for o in itertools.permutations((1, 2, 3))]
    np.testing.assert_allclose(tied.risk, np.mean([o.risk for o in orders], axis=0))
    assert tied.area == pytest.approx(np.mean([o.area for o in orders]))
    assert risk_coverage([7] * 4, RISK).area == pytest.approx(np.mean(RISK))


@pytest.mark.parametrize(
    ("confidence", "risk", "message"),
    [([], [], "one number a case"), ([1, 2], [1], "one number a case"), ([1, np.nan], [0, 1], "must be finite")],
)
def test_what_cannot_be_ranked_is_refused(confidence: list, risk: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        risk_coverage(confidence, risk)
