#!/usr/bin/env bash
# Train OpenVLA on all GPUs of this machine:
#     examples/05_many_gpus.sh CHECKPOINT [OPTIONS of `python -m tgrpo_trainer train` ...]
#
# On several machines that see one file system, run the same on each of them, the first one's name in HOST:
#     NODES=4 HOST=first-machine examples/05_many_gpus.sh CHECKPOINT ...
#
# GPUS overrides the number of processes a machine. Go on with a run: RESUME=runs/openvla_libero examples/05_many_gpus.sh
set -euo pipefail

GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
NODES=${NODES:-1}
if [[ -n ${RESUME:-} ]]; then
  START=(--resume "$RESUME")
else
  START=(--recipe openvla_libero --policy.checkpoint "${1:?give the checkpoint folder}")
  shift
  # Each rank collects whole groups, so their number is a multiple of the number of ranks: here two each.
  START+=(--rollout.num-groups "$((2 * GPUS * NODES))")
fi

if [[ $NODES == 1 ]]; then
  WHERE=(--standalone)
else
  WHERE=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-endpoint "${HOST:?the first machine}:29400" --rdzv-id tgrpo)
fi

# After Ctrl-C the ranks finish their iteration; torchrun would kill them after 30 seconds.
exec torchrun "${WHERE[@]}" --nproc-per-node "$GPUS" --shutdown-timeout 1800 \
  --module tgrpo_trainer train "${START[@]}" "$@"
