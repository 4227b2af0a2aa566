"""Tables of the studies' runs that docs/data/study_outcomes.json keeps, as docs/results.md has them.

    python scripts/study_differences.py --methods clone tgrpo tgrpo_llm --compare tgrpo_llm-tgrpo

The runs of a study lie in the folder of whoever ran it; this file is what is left of all of them. Clones came out alike
on every machine so far, so that runs of another day can stand beside these in pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgrpo_envs.files import read_json
from tgrpo_envs.text_table import markdown
from tgrpo_trainer.studies.difference import differences
from tgrpo_trainer.studies.results import DIFFERENCE_HEADINGS, difference_cells
from tgrpo_trainer.studies.table import Outcome, percent, success_table

DATA = Path(__file__).parents[1] / "docs" / "data" / "study_outcomes.json"
KINDS = ("greedy", "sampled")
HEADINGS = ("task", "method", "each seed", "mean", "over seeds", "over episodes")


def main() -> None:
    """Print a table of success and one of differences for greedy and for sampled evaluations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", help="only these methods; default: all")
    parser.add_argument("--compare", nargs="*", default=[], metavar="BETTER-WORSE", help="pairs of methods")
    given = parser.parse_args()
    outcomes = [one for one in read_outcomes(DATA) if given.methods is None or one.method in given.methods]
    pairs = [(better, worse) for better, _, worse in (pair.partition("-") for pair in given.compare)]
    for kind in KINDS:
        sys.stdout.write(f"{kind}\n\n{markdown(success_rows(outcomes, kind))}\n\n")
        if pairs:
            rows = [
                list(DIFFERENCE_HEADINGS),
                *(list(difference_cells(row)) for row in differences(outcomes, pairs, kind)),
            ]
            sys.stdout.write(f"{markdown(rows)}\n\n")


def read_outcomes(path: Path) -> list[Outcome]:
    """Each run's success; which of its episodes succeeded is not kept."""
    kept = read_json(path)
    return [
        Outcome(task, method, seed, {kind: _episodes(counts[kind][seed], kept["episodes"]) for kind in KINDS}, {})
        for task, methods in kept["successes"].items()
        for method, counts in methods.items()
        for seed in range(len(counts[KINDS[0]]))
    ]


def _episodes(successes: int, episodes: int) -> tuple[bool, ...]:
    return (True,) * successes + (False,) * (episodes - successes)


def success_rows(outcomes: Sequence[Outcome], kind: str) -> list[list[str]]:
    """Success in percent, with Student's interval over seeds and Wilson's over episodes."""
    zero = {kind: {0: 0.0}}  # where clones began stands in rows of their own
    table = success_table([Outcome(o.task, o.method, o.seed, o.successes, zero) for o in outcomes], kind)
    return [list(HEADINGS)] + [
        [
            row.task,
            row.method,
            " ".join(f"{100 * rate:.0f}" for rate in row.rates),
            f"{100 * row.mean:.1f}",
            percent(row.over_seeds),
            percent(row.over_episodes),
        ]
        for row in table
    ]


if __name__ == "__main__":
    main()
