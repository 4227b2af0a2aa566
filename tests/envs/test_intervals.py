"""The interval of a success rate, against published numbers and its own definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgrpo_envs.intervals import counted, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # By symmetry with 0/20.
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_wilson_interval_gives_the_published_numbers(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_defining_equation(counts: tuple[int, int]) -> None:
    successes, trials = counts
    rate = successes / trials
    for bound in wilson_interval(successes, trials):
        # A bound p is where the score test just rejects: (k/n - p)^2 = z^2 p (1 - p) / n.
        assert (rate - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / trials, abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_interval_refuses_what_is_no_proportion(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="proportion"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize(
    ("successes", "trials", "text"),
    [
        (10, 10, "10/10 = 100% [72%, 100%]"),
        (98, 99, "98/99 = 99% [94%, 100%]"),
        (50, 100, "50/100 = 50.0% [40.4%, 59.6%]"),
        (423, 500, "423/500 = 84.6% [81.2%, 87.5%]"),
        (499, 500, "499/500 = 99.8% [98.9%, 100.0%]"),
    ],
)
def test_counts_as_text(successes: int, trials: int, text: str) -> None:
    """The published tables have tenths of a percent; of fewer than a hundred trials they would say nothing."""
    assert counted(successes, trials) == text
