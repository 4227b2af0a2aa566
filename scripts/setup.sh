#!/usr/bin/env bash
# Creates .venv with the tested versions of everything. Safe to run again; never asks; needs no compiler.
#
#   PYTHON=python3.12             the interpreter to use (3.11 to 3.13; otherwise the first found)
#   TGRPO_TORCH_INDEX_URL=...     a package index with builds of torch for this machine, for example CPU-only ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CONSTRAINTS=requirements/constraints.txt
readonly STAMP=.venv/tgrpo-setup.sha256
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

phase() { # phase TITLE COMMAND...: runs it and prints its seconds
  local title=$1 begin=$SECONDS
  shift
  say "$title ..."
  "$@" </dev/null
  say "$title: $((SECONDS - begin)) s"
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

apt_install() { # installs those of the packages that this release of Debian or Ubuntu has
  local package available=()
  apt-get update -qq
  for package in "$@"; do
    if apt-cache show "$package" >/dev/null 2>&1; then available+=("$package"); fi
  done
  apt-get install -y -qq --no-install-recommends "${available[@]}" >/dev/null
}

can_apt() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

make_venv() {
  if ! "$1" -c 'import ensurepip' 2>/dev/null; then
    can_apt || fail "$1 cannot make virtual environments. Install its venv module, e.g. 'apt-get install python3-venv'."
    apt_install python3-venv
  fi
  "$1" -m venv .venv
}

has_gl() { # OpenCV needs libGL and glib; MuJoCo renders through EGL or OSMesa
  .venv/bin/python - <<'PYTHON'
import ctypes, sys

def loads(*names):
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            return False
    return True

sys.exit(not (loads("libGL.so.1", "libgthread-2.0.so.0") and (loads("libEGL.so.1") or loads("libOSMesa.so.8"))))
PYTHON
}

install_gl() {
  local packages=(libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libglib2.0-0 libosmesa6)
  if can_apt; then
    apt_install "${packages[@]}"
  else
    say "OpenGL libraries are missing: install ${packages[*]} (Debian's and Ubuntu's names) to render pictures."
  fi
}

install_torch() {
  local index=()
  if [[ -n ${TGRPO_TORCH_INDEX_URL:-} ]]; then index=(--extra-index-url "$TGRPO_TORCH_INDEX_URL"); fi
  pip_install "${index[@]}" torch
}

# --no-compile: Python compiles a module when it is first imported, which spares the many that never are.
# --use-pep517: two old source packages would otherwise fall back to a way of building that pip is removing.
pip_install() { .venv/bin/python -m pip install --quiet --no-compile --use-pep517 -c "$CONSTRAINTS" "$@"; }

digest() { cat pyproject.toml "$CONSTRAINTS" scripts/setup.sh | sha256sum; }

main() {
  local python
  if [[ -f $STAMP && $(<"$STAMP") == "$(digest)" ]]; then
    say "nothing to do: .venv is up to date"
    return
  fi
  python=$(find_python) || fail "Python 3.11, 3.12 or 3.13 is needed and was not found. Install one, or set PYTHON=/path/to/python."
  if [[ ! -x .venv/bin/pip ]]; then phase "virtual environment from $python" make_venv "$python"; fi
  if ! has_gl; then phase "OpenGL libraries" install_gl; fi
  phase "torch" install_torch
  phase "tgrpo and its requirements" pip_install -e '.[all,dev]'
  phase "LIBERO" pip_install --no-deps hf-libero
  digest >"$STAMP"
  say "done in $SECONDS s. To use it: source .venv/bin/activate"
}

main
