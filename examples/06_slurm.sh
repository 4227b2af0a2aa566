#!/usr/bin/env bash
# Train OpenVLA under Slurm, one process a GPU, and go on by itself when the time limit cuts the job:
#     sbatch examples/06_slurm.sh CHECKPOINT [OPTIONS of `python -m tgrpo_trainer train` ...]
#SBATCH --job-name=tgrpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@1800
# ^ 30 minutes before the limit every process hears SIGTERM, finishes its iteration, saves, and ends with code 143.
set -euo pipefail

RUN=${RUN:-runs/openvla_libero}
if [[ -f $RUN/config.json ]]; then
  START=(--resume "$RUN")
else
  START=(--recipe openvla_libero --run.folder "$(dirname "$RUN")" --run.name "$(basename "$RUN")")
  START+=(--policy.checkpoint "${1:?give the checkpoint folder}" --rollout.num-groups "$((2 * SLURM_NTASKS))" "${@:2}")
fi

read -r MASTER_ADDR < <(scontrol show hostnames "$SLURM_JOB_NODELIST") # the first of them
MASTER_PORT=$((10000 + SLURM_JOB_ID % 50000))
export MASTER_ADDR MASTER_PORT

# srun instead of torchrun: signals reach the processes themselves, and a process that dies takes the others with it.
code=0
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
  exec python -m tgrpo_trainer train "$@"
' bash "${START[@]}" || code=$?

if [[ $code == 143 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
