"""Writes tgrpo_envs/data/task_cards.json: what prompts say about each task's scene, measured in the built scenes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tqdm import tqdm

from tgrpo_envs.reward_tools.author.cards import CARDS_FILE
from tgrpo_envs.reward_tools.author.measure_card import measure_card
from tgrpo_envs.tasks import list_tasks

OUTPUT = Path(__file__).resolve().parent.parent / "tgrpo_envs" / CARDS_FILE


def main() -> None:
    """Write the table, one card a line, and say where."""
    cards = [measure_card(task) for task in tqdm(list_tasks(), desc="Measuring", unit="task", disable=None)]
    rows = ",\n".join(json.dumps(card.model_dump(), separators=(",", ":")) for card in cards)
    OUTPUT.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    sys.stdout.write(f"{OUTPUT}: {len(cards)} cards, {OUTPUT.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
