"""What the documents promise: the README's code runs, and every link between them leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize(
    ("document", "first_line"),
    [
        ("README.md", "pick up the butter and place it in the basket"),
        ("docs/use-an-environment.md", "open the middle drawer of the cabinet"),
        ("docs/bring-a-task.md", "put the bowl on the stove"),
        ("docs/other-libraries.md", "(2, 12)"),
    ],
)
def test_the_python_of_a_document_runs(document: str, first_line: str, tmp_path: Path) -> None:
    """In a folder with the task file that the document shows, if it shows one."""
    text = (ROOT / document).read_text()
    for block in re.findall(r"```lisp\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / "my_task.bddl").write_text(block)
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{first_line}\n")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert missing == []


def test_readme_names_every_environment_id() -> None:
    from tgrpo_envs import ENV_IDS

    text = (ROOT / "README.md").read_text()
    assert [env_id for env_id in ENV_IDS.values() if env_id not in text] == []
