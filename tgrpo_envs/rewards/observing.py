"""Executes a spec's instructions, compiled: truth of atoms and conditions, what is left of ramps, in N environments.

One call instead of several array operations for each atom, which cost more than the numbers they compute. Imported
when a spec is bound, since numba is not cheap to import.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.rewards.predicates import BOX_FLOOR_SLACK_M, Code
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

AND, OR, NOT = -1, -2, -3  # operators of a condition in postfix; numbers from 0 are atoms

_SLACK_M = BOX_FLOOR_SLACK_M / 2
_Long = NDArray[np.int64]


@dataclass(frozen=True)
class Program:
    """A bound spec: W instructions, the first A of them atoms, the others ramps; C conditions over K stages.

    Attributes:
        words_W7: Code, a, b, box, flag, first axis and end of axes of each instruction.
        limits_W3: Limit, second and bound.
        ramps_R: Stage of each ramp.
        code: Conditions in postfix, one after the other.
        ends_C: Where each ends: `done` of each stage, then `while`, then `maintain`.
        whiles_X: Stage of each `while`.
        costs_J: What is lost where a `maintain` does not hold.
        num_stages: K.
    """

    words_W7: _Long
    limits_W3: FloatArray
    ramps_R: _Long
    code: _Long
    ends_C: _Long
    whiles_X: _Long
    costs_J: FloatArray
    num_stages: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a spec asks of a moment; see `BoundSpec.observe`."""

    truth_AN: BoolArray
    done_KN: BoolArray
    allowed_KN: BoolArray
    maintained_JN: BoolArray
    remaining_KN: FloatArray
    kept_N: FloatArray


def observe(program: Program, now_NF: FloatArray, start_NF: FloatArray, flags_NB: BoolArray) -> Seen:
    """Execute a program.

    Args:
        program: The spec.
        now_NF: Numbers of the snapshot (`Columns`).
        start_NF: Those of the reset.
        flags_NB: Flags of the snapshot.
    """
    stages, num_envs = program.num_stages, len(now_NF)
    atoms = len(program.words_W7) - len(program.ramps_R)
    # Two arrays rather than six: each that compiled code returns costs a microsecond.
    truths_RN = np.empty((atoms + 2 * stages + len(program.costs_J), num_envs), dtype=np.bool_)
    numbers_RN = np.empty((stages + 1, num_envs))
    seen = Seen(
        truths_RN[:atoms],
        truths_RN[atoms : atoms + stages],
        truths_RN[atoms + stages : atoms + 2 * stages],
        truths_RN[atoms + 2 * stages :],
        numbers_RN[:stages],
        numbers_RN[stages],
    )
    _execute(program.words_W7, program.limits_W3, program.ramps_R, now_NF, start_NF, flags_NB, truths_RN, numbers_RN)
    _conclude(program.code, program.ends_C, program.whiles_X, program.costs_J, atoms, truths_RN, numbers_RN)
    return seen


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _execute(
    words_W7: _Long,
    limits_W3: FloatArray,
    ramps_R: _Long,
    now_NF: FloatArray,
    start_NF: FloatArray,
    flags_NB: BoolArray,
    truths_RN: BoolArray,
    numbers_RN: FloatArray,
) -> None:
    """Atoms and ramps."""
    num_atoms = len(words_W7) - len(ramps_R)
    numbers_RN[:] = 1.0
    for n in range(len(now_NF)):
        now_F, start_F, flags_B = now_NF[n], start_NF[n], flags_NB[n]
        for w in range(num_atoms):
            word_7, limit_3 = words_W7[w], limits_W3[w]
            if word_7[0] <= Code.GOAL:
                truths_RN[w, n] = _touches(word_7, now_F, flags_B)
            elif word_7[0] <= Code.INSIDE:
                truths_RN[w, n] = _is_there(word_7, limit_3, now_F)
            else:
                truths_RN[w, n] = _has_moved(word_7, limit_3, now_F, start_F)
        for r in range(len(ramps_R)):
            w = num_atoms + r
            numbers_RN[ramps_R[r], n] = _remaining(words_W7[w], limits_W3[w], now_F, start_F)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _conclude(
    code: _Long,
    ends_C: _Long,
    whiles_X: _Long,
    costs_J: FloatArray,
    num_atoms: int,
    truths_RN: BoolArray,
    numbers_RN: FloatArray,
) -> None:
    """Conditions from atoms."""
    num_stages, num_envs = len(numbers_RN) - 1, numbers_RN.shape[1]
    allowed_row = num_atoms + num_stages
    truths_RN[allowed_row : allowed_row + num_stages] = True
    stack = np.empty(len(code), dtype=np.bool_)
    for n in range(num_envs):
        first = 0
        for c in range(len(ends_C)):
            top = -1
            for number in code[first : ends_C[c]]:
                if number >= 0:
                    top += 1
                    stack[top] = truths_RN[number, n]
                elif number == NOT:
                    stack[top] = not stack[top]
                elif number == AND:
                    top -= 1
                    stack[top] = stack[top] and stack[top + 1]
                else:
                    top -= 1
                    stack[top] = stack[top] or stack[top + 1]
            first = ends_C[c]
            j = c - num_stages - len(whiles_X)
            if c < num_stages:
                truths_RN[num_atoms + c, n] = stack[0]
            elif j < 0:
                truths_RN[allowed_row + whiles_X[c - num_stages], n] &= stack[0]
            else:
                truths_RN[allowed_row + num_stages + j, n] = stack[0]
                numbers_RN[num_stages, n] *= 1.0 if stack[0] else 1.0 - costs_J[j]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _touches(word_7: _Long, now_F: FloatArray, flags_B: BoolArray) -> bool:
    """Atoms of contacts, and of the goal."""
    code, a, b, _, flag, _, _ = word_7
    if code == Code.RELEASED:
        return not flags_B[flag]
    if code == Code.GRASPED:
        return bool(flags_B[flag] and flags_B[flag + 1])
    if code == Code.RESTING_ON:
        return bool(flags_B[flag] and now_F[a + 2] >= now_F[b + 2])
    return bool(flags_B[flag])


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _is_there(word_7: _Long, limit_3: FloatArray, now_F: FloatArray) -> bool:
    """Atoms of places."""
    code, a, b, box, _, _, _ = word_7
    if code == Code.INSIDE:
        return bool(_outside(word_7, now_F) < limit_3[0])
    is_close = bool(_square(word_7, now_F) <= limit_3[0])
    if code == Code.NEAR:
        return is_close
    top = now_F[b + 2] + now_F[box + 2] if box >= 0 else now_F[b + 2]
    return is_close and bool(now_F[a + 2] - top >= limit_3[1])


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _has_moved(word_7: _Long, limit_3: FloatArray, now_F: FloatArray, start_F: FloatArray) -> bool:
    """Atoms of what has become of an object or a joint since reset."""
    code, a, limit = word_7[0], word_7[1], limit_3[0]
    if code == Code.LIFTED:
        return bool(now_F[a + 2] - start_F[a + 2] >= limit)
    if code == Code.UPRIGHT:
        # The body's direction that pointed up at reset is R0^T z; its height component now is (R R0^T z)_z, the dot
        # product of the two matrices' last rows.
        cosine = now_F[a] * start_F[a] + now_F[a + 1] * start_F[a + 1] + now_F[a + 2] * start_F[a + 2]
        return bool(cosine >= limit)
    if code == Code.STILL:
        return bool(now_F[a] < limit)
    if code == Code.MOVED:
        way = 0.0
        for axis in range(3):
            step = now_F[a + axis] - start_F[a + axis]
            way += step * step
        return bool(way >= limit)
    return bool(_to_threshold(limit_3, now_F[a]) <= limit * _to_threshold(limit_3, start_F[a]))


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _remaining(word_7: _Long, limit_3: FloatArray, now_F: FloatArray, start_F: FloatArray) -> float:
    """What is left of a ramp."""
    code, a, limit = word_7[0], word_7[1], limit_3[0]
    if code == Code.APPROACH:
        return float(_positive(np.sqrt(_square(word_7, now_F)) - limit))
    if code == Code.RAISE:
        return float(_positive(limit - (now_F[a + 2] - start_F[a + 2])))
    if code == Code.INSIDE_DEPTH:
        return float(_positive(_outside(word_7, now_F)))
    if code == Code.ACTUATE:
        return float(_to_threshold(limit_3, now_F[a]))
    return float(limit)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _square(word_7: _Long, now_F: FloatArray) -> float:
    """Squared distance of two places over the axes that count."""
    _, a, b, _, _, first, end = word_7
    square = 0.0
    for axis in range(first, end):
        gap = now_F[a + axis] - now_F[b + axis]
        square += gap * gap
    return square


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _outside(word_7: _Long, now_F: FloatArray) -> float:
    """How far a place is outside LIBERO's box on the worst axis; negative inside (SiteObject.in_box)."""
    _, a, b, box, _, _, _ = word_7
    worst = -np.inf
    for axis in range(3):
        slack = _SLACK_M if axis == 2 else 0.0
        beyond = abs(now_F[a + axis] - now_F[b + axis] + slack) - now_F[box + axis] - slack
        if not beyond <= worst:  # the NaN of a diverged environment stays
            worst = beyond
    return worst


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _to_threshold(limit_3: FloatArray, qpos: float) -> float:
    """How far a joint is from LIBERO's threshold; 0 beyond it."""
    return float(_positive(limit_3[1] * (limit_3[2] - qpos)))


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _positive(value: float) -> float:
    """At least 0; NaN stays."""
    return 0.0 if value <= 0.0 else value
