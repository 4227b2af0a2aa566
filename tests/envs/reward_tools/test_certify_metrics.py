"""The metrics of certificates against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tgrpo_envs.reward_tools.certify import metrics
from tgrpo_envs.reward_tools.certify.scoring import debounced


def test_auc_counts_pairs_and_halves_ties() -> None:
    # pairs: (2,1) win, (2,2) tie, (3,1) win, (3,2) win -> 3.5 of 4
    assert metrics.auc([2, 3], [1, 2]) == 3.5 / 4
    assert metrics.auc([1, 1], [1]) == 0.5
    assert math.isnan(metrics.auc([], [1]))


def test_spearman_shares_ranks_among_ties() -> None:
    assert metrics.spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1.0)
    assert metrics.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # ranks of (0, 0, 1) are (0.5, 0.5, 2), of time (0, 1, 2): centred (-0.5, -0.5, 1) and (-1, 0, 1)
    assert metrics.spearman([0, 0, 1], [0, 1, 2]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert metrics.spearman([1, 1, 1], [0, 1, 2]) == 0.0


def test_backsliding_is_the_fall_over_the_way() -> None:
    # up 0.5, down 0.1, up 0.4: 0.1 of 1.0
    assert metrics.backsliding(np.array([0.0, 0.5, 0.4, 0.8])) == pytest.approx(0.1)
    assert metrics.backsliding(np.zeros(5)) == 0.0


def test_dead_time_and_the_longest_plateau() -> None:
    phi_T = np.array([0.0, 0.0, 0.2, 0.2, 0.2, 0.4])  # moves: still, up, still, still, up
    assert metrics.dead_time(phi_T) == pytest.approx(3 / 5)
    assert metrics.longest_plateau(phi_T) == pytest.approx(2 / 5)
    assert metrics.longest_plateau(np.array([0.0, 0.5, 1.0])) == 0.0
    assert metrics.longest_plateau(np.full(4, 0.3)) == 1.0


def test_density_is_one_where_time_is_spread_evenly() -> None:
    assert metrics.density(np.array([0, 0, 1, 1, 2, 2]), 2) == pytest.approx(1.0)  # 2: all done, left out
    assert metrics.density(np.array([0, 0, 0]), 2) == 0.0
    # shares 3/4 and 1/4
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert metrics.density(np.array([0, 0, 0, 1]), 2) == pytest.approx(expected)


def test_order_agreement_looks_at_edges_that_can_be_judged() -> None:
    edges = [(0, 1), (1, 2)]
    assert metrics.order_agreement(edges, (1, 5, 9), (1, 5, 9)) == 1.0
    assert metrics.order_agreement(edges, (1, 5, 4), (1, 5, 4)) == 0.5
    assert metrics.order_agreement(edges, (1, 5, 2), (1, 5, 7)) == 1.0  # in passing at 2, in its turn at 7
    assert metrics.order_agreement(edges, (9, math.nan, 4), (9, math.nan, 4)) == 1.0


def test_pairs_in_order_and_margin() -> None:
    # (1,2) (1,2) (2,2): two in order, one tie
    assert metrics.pairs_in_order([1, 2, 2]) == pytest.approx(2.5 / 3)
    assert metrics.margin([1.0, 1.1], [0.2, 0.4]) == pytest.approx(0.6)


def test_bootstrap_covers_the_mean_and_repeats() -> None:
    sample = [0.0, 1.0] * 50
    first = metrics.bootstrap([sample])
    assert first == metrics.bootstrap([sample])
    # the standard error of 100 coin flips is 0.05, so the 95 % interval is about 0.4 to 0.6
    assert first.value == 0.5 and first.n == 100
    assert first.low == pytest.approx(0.40, abs=0.03) and first.high == pytest.approx(0.60, abs=0.03)
    assert metrics.bootstrap([[]]).value is None


def test_debouncing_counts_moments_and_trusts_what_holds_at_reset() -> None:
    done_KM = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1, 0]], dtype=bool)
    ready_KM = debounced(done_KM, np.array([2, 3]))
    assert ready_KM.astype(int).tolist() == [[0, 0, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1, 0]]
