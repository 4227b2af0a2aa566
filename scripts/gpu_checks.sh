#!/usr/bin/env bash
# What a GPU can tell of this project: each part on its own time limit, each result written as it comes.
#
#   scripts/gpu_checks.sh [FOLDER]     writes FOLDER/NAME.txt and NAME.json (default gpu_checks)
#   DEVICE=cpu SIZE=tiny               a dry run without a GPU; without SIZE every part first runs once at tiny size
#   PARTS="pictures updates"           only these
#   MINUTES=10                         in all; a part is not begun when they are over
#   LIMIT_S=150                        of one part, seconds
#   PYTHON=python3                     with torch, numpy, numba, transformers, safetensors, tokenizers, h5py, peft,
#                                      mujoco 3.3.2, gymnasium, pydantic and tyro; neither LIBERO nor robosuite
#   TGRPO_CACHE=FOLDER                 a cache that holds the scene of libero_object's task 0 on the primitive assets
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly OUT=${1:-gpu_checks}
readonly DEVICE=${DEVICE:-cuda} SIZE=${SIZE:-7b} MINUTES=${MINUTES:-10} PYTHON=${PYTHON:-.venv/bin/python}
readonly PARTS=${PARTS:-pictures decisions parallel updates iteration compiled}
readonly LIMIT_S=${LIMIT_S:-150} # of one part
export PYTHONUNBUFFERED=1
failed=0

command_of() { # command_of PART SIZE: its arguments to Python, one a line
  local bench="-m tgrpo_trainer bench --device $DEVICE --size $2"
  case $1 in
    pictures) echo "-m tgrpo_envs bench --no-official --assets primitive" ;;
    decisions) echo "$bench --parts decisions" ;;
    parallel) echo "$bench --parts decisions --decoding parallel" ;;
    compiled) echo "$bench --parts decisions --batch-sizes 8 32 --compile" ;;
    updates) echo "$bench --parts updates" ;;
    iteration) echo "$bench --parts iteration --assets primitive" ;;
    *) printf 'gpu_checks: no part is called %s\n' "$1" >&2; return 2 ;;
  esac
}

run_part() { # run_part NAME SIZE FILE: runs a part and says how it ended
  local begin=$SECONDS left=$((MINUTES * 60 - SECONDS)) arguments status
  arguments=$(command_of "$1" "$2") || exit 2
  if ((left < 10)); then
    printf '[gpu] %s: not run, %s minutes are over\n' "$1" "$MINUTES"
    return
  fi
  # shellcheck disable=SC2086 # words are arguments
  timeout $((left < LIMIT_S ? left : LIMIT_S)) "$PYTHON" $arguments --out "$3.json" >"$3.txt" 2>&1 </dev/null
  status=$?
  printf '[gpu] %s, %s: exit %s after %s s\n' "$1" "$2" "$status" "$((SECONDS - begin))"
  if ((status != 0)); then
    failed=1
    tail -n 8 "$3.txt"
  elif [[ $3 == "$OUT/$1" ]]; then
    cat "$3.txt"
  fi
}

mkdir -p "$OUT/dry"
for part in $PARTS; do # found out early, at little cost
  if [[ $SIZE != tiny && $part != pictures && $part != compiled ]]; then run_part "$part" tiny "$OUT/dry/$part"; fi
done
for part in $PARTS; do run_part "$part" "$SIZE" "$OUT/$part"; done
exit "$failed"
