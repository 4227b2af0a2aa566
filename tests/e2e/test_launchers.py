"""The shell examples start what they say: their launchers are stand-ins that print, and print options that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tgrpo_trainer.__main__ import parse_run

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted([*EXAMPLES.glob("[0-9]*.sh"), *(ROOT / "scripts").glob("*.sh")])
PRINT = '#!/usr/bin/env bash\nexec {python} -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@"\n'


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A folder of stand-ins, first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = subprocess.run(["which", "python3"], capture_output=True, text=True, check=True).stdout.strip()
    # srun runs the last of its tasks here, whose `python` prints.
    task = 'while [[ $1 != bash ]]; do shift; done\nSLURM_PROCID=15 SLURM_LOCALID=7 exec "$@"\n'
    programs = {
        "torchrun": PRINT.format(python=python),
        "python": PRINT.format(python=python),
        "nvidia-smi": "#!/usr/bin/env bash\nprintf 'GPU 0\\nGPU 1\\nGPU 2\\n'\n",
        "srun": f"#!/usr/bin/env bash\n{task}",
        "scontrol": "#!/usr/bin/env bash\nprintf 'node-a\\nnode-b\\n'\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def run(script: str, *arguments: str, path: str, cwd: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        ["bash", EXAMPLES / script, *arguments],
        env={**os.environ, "PATH": path, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    printed: list[str] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_and_executable(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


def test_torchrun_and_the_trainer_understand_the_line(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.run import get_args_parser

    monkeypatch.chdir(tmp_path)
    for environment, nodes in (({}, "1:1"), ({"NODES": "4", "HOST": "first"}, "4")):
        given = run("05_many_gpus.sh", "published", "--env.task", "3", path=path, cwd=tmp_path, **environment)
        launch = get_args_parser().parse_args(given)
        assert (launch.nnodes, launch.nproc_per_node, launch.training_script) == (nodes, "3", "tgrpo_trainer")
        command, *arguments = launch.training_script_args
        config = parse_run(command, arguments)
        assert (str(config.env.task), str(config.policy.checkpoint)) == ("3", "published")
        assert config.rollout.num_groups % (3 * int(nodes[0])) == 0


def test_slurm_starts_one_process_a_gpu_and_goes_on(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slurm = {
        "SLURM_NTASKS": "16",
        "SLURM_NTASKS_PER_NODE": "8",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_ID": "7",
    }
    given = run("06_slurm.sh", "published", "--env.task", "3", path=path, cwd=tmp_path, **slurm)
    assert given[:3] == ["-m", "tgrpo_trainer", "train"]
    config = parse_run("train", given[3:])
    assert config.rollout.num_groups == 32 and config.run.path == Path("runs/openvla_libero")
    config.run.path.mkdir(parents=True)
    config.save(config.run.path / "config.json")
    again = run("06_slurm.sh", "published", path=path, cwd=tmp_path, **slurm)
    assert parse_run("train", again[3:]) == config
    header = (EXAMPLES / "06_slurm.sh").read_text()
    tasks, gpus = (re.findall(rf"#SBATCH --{name}=(\d+)", header) for name in ("ntasks-per-node", "gpus-per-node"))
    assert tasks == gpus != []


@pytest.mark.slow
def test_every_part_of_the_gpu_checks_runs_without_a_gpu(tmp_path: Path) -> None:
    settings = {"DEVICE": "cpu", "SIZE": "tiny", "MINUTES": "20", "LIMIT_S": "600", "PYTHON": sys.executable}
    settings["PARTS"] = "decisions parallel updates iteration pictures"
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "gpu_checks.sh", tmp_path], env={**os.environ, **settings}, check=False
    )
    assert done.returncode == 0
    for part in settings["PARTS"].split():
        assert json.loads((tmp_path / f"{part}.json").read_text())["measurements"]
