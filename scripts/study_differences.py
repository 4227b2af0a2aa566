"""Tables of the studies' runs that docs/data/study_outcomes.json keeps, as docs/results.md has them.

    python scripts/study_differences.py --methods clone tgrpo tgrpo_llm --compare tgrpo_llm-tgrpo

The runs of a study lie in the folder of whoever ran it; this file is what is left of all of them. Clones came out alike
on every machine so far, so that runs of another day can stand beside these in pairs.
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from pathlib import Path

from tgrpo_envs.files import read_json
from tgrpo_envs.text_table import markdown
from tgrpo_trainer.studies.difference import differences
from tgrpo_trainer.studies.results import DIFFERENCE_HEADINGS, SUCCESS_HEADINGS, difference_cells, success_cells
from tgrpo_trainer.studies.table import Outcome, success_table

DATA = Path(__file__).parents[1] / "docs" / "data" / "study_outcomes.json"
KINDS = ("greedy", "sampled")


def main() -> None:
    """Print a table of success and one of differences for greedy and for sampled evaluations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", help="only these methods; default: all")
    parser.add_argument("--compare", nargs="*", default=[], metavar="BETTER-WORSE", help="pairs of methods")
    given = parser.parse_args()
    outcomes = read_outcomes(DATA)
    pairs = [(better, worse) for better, _, worse in (pair.partition("-") for pair in given.compare)]
    known = sorted({one.method for one in outcomes})
    for name in (*(given.methods or ()), *chain.from_iterable(pairs)):
        if name not in known:
            parser.error(f"There are no runs of {name!r}; give one of {', '.join(known)}, or two as BETTER-WORSE.")
    for kind in KINDS:
        shown = [one for one in outcomes if not given.methods or one.method in given.methods]
        success = [SUCCESS_HEADINGS, *map(success_cells, success_table(shown, kind))]
        sys.stdout.write(f"{kind}\n\n{markdown(success)}\n\n")
        if pairs:
            compared = [DIFFERENCE_HEADINGS, *map(difference_cells, differences(outcomes, pairs, kind))]
            sys.stdout.write(f"{markdown(compared)}\n\n")


def read_outcomes(path: Path) -> list[Outcome]:
    """Each run's success; which of its episodes succeeded is not kept."""
    kept = read_json(path)
    num_episodes = kept["episodes"]
    return [
        Outcome(
            task,
            method,
            seed,
            successes={kind: _episodes(counts[kind][seed], num_episodes) for kind in KINDS},
            curves={kind: {0: methods["clone"][kind][seed] / num_episodes} for kind in KINDS},
        )
        for task, methods in kept["successes"].items()
        for method, counts in methods.items()
        for seed in range(len(counts[KINDS[0]]))
    ]


def _episodes(successes: int, episodes: int) -> tuple[bool, ...]:
    return (True,) * successes + (False,) * (episodes - successes)


if __name__ == "__main__":
    main()
