"""How a demonstration file is laid out: rows before or after their actions, and which way up its pictures are stored.

Files of the same fields and names differ in both, and few say so. The arm says it: the gripper's motion answers the
action that caused it, and what moves in a picture moves with the gripper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.config import Pictures, Rows

Float = NDArray[np.float64]
Samples = tuple[Float, Float]
"""What a linear fit is made of: (M, F) explaining numbers and (M,) explained ones."""

FLIPS: dict[Pictures, tuple[bool, bool]] = {
    "opengl": (True, False),
    "upright": (False, False),
    "turned": (False, True),
    "mirrored": (True, True),
}
"""Which of (rows, columns) have to be reversed so that a stored picture is upright."""

# LIBERO's controller moves the gripper by some 5 mm within the control step of a full action, and goes on in the steps
# after it. So the motion from a row to the next answers no later action than that row's own if rows come before their
# actions, and the next row's if they come after. Measured in 19 tasks of five suites, three of them in LIBERO's
# environment too, both ways: 3.9 to 6.0 mm for the action that causes the motion, at most 0.7 for any later one, in 254
# of 266 readings; the other twelve, of the stove's knob, tell nothing.
LAGS = (4, 3, 2, 1, 0, -1, -2, -3, -4)
ROWS_OF_LAG: dict[int, Rows] = {0: "before", 1: "after"}
ANSWER_MM = (3.0, 8.0)
NO_ANSWER_MM = 1.5
MAX_ERROR_MM = 0.75  # standard error of any of these
WIDE_MISS = 3.0  # medians
MOVED_LEVELS = 8  # a change of brightness, of 255, that a moving arm makes and compression does not
# Pictures a metre that agentview's arm moves: 1.1 to 1.5 sideways, 0.6 to 1.1 vertically. On the wrist the scene moves
# by 0.2 to 1.5. Both seen in the same tasks.
LEAST_SHIFT = {"agentview": 0.3, "wrist": 0.1}
LEAST_ERRORS = 4.0  # standard errors that a direction has to be away from none
PICTURE_SIDE = 64  # enough to see motion


@dataclass(frozen=True)
class Layout:
    """How to read a file.

    Attributes:
        rows: Whether row t was seen before or after action t.
        agentview: Whether to reverse the (rows, columns) of these pictures to have them upright.
        wrist: The same for the wrist's.
    """

    rows: Rows
    agentview: tuple[bool, bool]
    wrist: tuple[bool, bool]

    def __str__(self) -> str:
        """For the terminal, as the options name it."""
        names = {flips: name for name, flips in FLIPS.items()}
        pictures = dict.fromkeys((names[self.agentview], names[self.wrist]))
        return f"rows {self.rows} their actions, pictures {' and '.join(pictures)}"


@dataclass(frozen=True)
class Evidence:
    """What one demonstration says about its file's layout.

    Attributes:
        demo: Its name in the file.
        motion: The gripper's displacements (mm) by actions.
        agentview: How far right and how far down the moving arm is (shares of the picture), by the gripper's position.
        wrist: How far right and how far down the scene moves, by the gripper's displacement in its own frame.
    """

    demo: str
    motion: Samples
    agentview: tuple[Samples, Samples]
    wrist: tuple[Samples, Samples]


def gather_evidence(
    demo: str,
    actions_TA: Float,
    pose_TQ: Float,
    agentview_THWC: NDArray[np.uint8],
    wrist_THWC: NDArray[np.uint8],
) -> Evidence:
    """Look at one demonstration.

    Args:
        demo: Its name.
        actions_TA: The actions executed.
        pose_TQ: The first nine numbers of `proprio`: the gripper's position, its x axis and its y axis.
        agentview_THWC: Pictures as they are stored.
        wrist_THWC: Pictures as they are stored.
    """
    position_T3, axes_T23 = pose_TQ[:, :3], pose_TQ[:, 3:9].reshape(-1, 2, 3)
    moved_T3 = np.diff(position_T3, axis=0)
    right_T, down_T = _where_it_moves(_grey(agentview_THWC))
    seen_T = np.isfinite(right_T)
    place_T4 = np.column_stack([(position_T3[1:] + position_T3[:-1]) / 2, np.ones(len(moved_T3))])[seen_T]
    flow_right_T, flow_down_T = _how_it_flows(_grey(wrist_THWC))
    own_T2 = np.einsum("tad,td->ta", axes_T23[:-1], moved_T3)
    approach_T = np.einsum("td,td->t", np.cross(axes_T23[:-1, 0], axes_T23[:-1, 1]), moved_T3)
    own_T3 = np.column_stack([own_T2, approach_T])
    return Evidence(
        demo,
        motion=_motion(1000.0 * moved_T3, actions_TA),
        agentview=((place_T4, right_T[seen_T]), (place_T4, down_T[seen_T])),
        wrist=((own_T3, flow_right_T), (own_T3, flow_down_T)),
    )


def find_layout(
    file: str,
    evidence: Sequence[Evidence],
    chosen: tuple[Rows | None, Pictures | None],
    stated: tuple[Rows | None, Pictures | None],
) -> Layout:
    """The layout that the user chose, the file states, or its demonstrations show.

    Args:
        file: Its name, for messages.
        evidence: Of each demonstration.
        chosen: What the user says of rows and pictures.
        stated: What the file says of them.

    Raises:
        CheckpointError: Nothing tells, or what is said and what is seen contradict each other.
    """
    return Layout(
        _find_rows(file, evidence, chosen[0], chosen[0] or stated[0]),
        *_find_flips(file, evidence, chosen[1], stated[1]),
    )


def _find_rows(file: str, evidence: Sequence[Evidence], chosen: Rows | None, stated: Rows | None) -> Rows:
    told = stated or tell_rows([one.motion for one in evidence])
    if told is None or told == "neither":
        raise CheckpointError(
            f"{file} does not say whether its rows were seen before or after their actions, and its arm's motion does "
            "not tell either; give --sft.demo-rows before (as OpenVLA regenerates LIBERO's files) or --sft.demo-rows "
            "after (as LIBERO publishes them)."
        )
    for one in evidence:
        seen = tell_rows([one.motion])
        if seen not in ((None, told, "neither") if chosen else (None, told)):
            moves = "answers other rows' actions" if seen == "neither" else f"says that they came {seen}"
            raise CheckpointError(
                f"{file} {'is said to hold' if stated else 'mostly holds'} rows {told} their actions, but the arm's "
                f"motion in {one.demo} {moves}; correct the file, its attribute observation_row or --sft.demo-rows, or "
                "leave that demonstration out."
            )
    return told


def tell_rows(motion: Sequence[Samples]) -> Rows | Literal["neither"] | None:
    """Whether rows come before or after their actions, by the action that the gripper's motion answers.

    Args:
        motion: Of some demonstrations, see `Evidence`.

    Returns:
        None where too little moves; neither where the motion clearly answers some other action.
    """
    fit = _fit(motion)
    if fit is None:
        return None
    for lag, answer, error in zip(LAGS, *fit, strict=False):
        if error > MAX_ERROR_MM:
            return None
        if ANSWER_MM[0] < answer < ANSWER_MM[1]:
            return ROWS_OF_LAG.get(lag, "neither")
        if abs(answer) > NO_ANSWER_MM:
            return None
    return None


def _find_flips(
    file: str, evidence: Sequence[Evidence], chosen: Pictures | None, stated: Pictures | None
) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    """Flips of agentview and wrist; a wrist that does not tell is taken to be stored as agentview is.

    What moves in a picture is weaker evidence than the arm's motion, so the user's choice is final.
    """
    # Upright, agentview's arm goes right with the world's y and down against its z, and the wrist's scene goes right
    # and down with the gripper's x and y axes.
    agentview = _tell_flips([one.agentview for one in evidence], (1, 2), (1, -1), LEAST_SHIFT["agentview"])
    wrist = _tell_flips([one.wrist for one in evidence], (0, 1), (1, 1), LEAST_SHIFT["wrist"])
    if chosen is not None:
        return FLIPS[chosen], FLIPS[chosen]
    if stated is not None:
        for camera, told in (("agentview", agentview), ("wrist", wrist)):
            if any(one not in (None, other) for one, other in zip(told, FLIPS[stated], strict=True)):
                raise CheckpointError(
                    f"{file} says that its pictures are stored {stated}, but the {camera} ones move otherwise; correct "
                    "its attribute macros_image_convention, or give --sft.demo-pictures opengl, upright, turned or "
                    "mirrored."
                )
        return FLIPS[stated], FLIPS[stated]
    reverse_rows, reverse_columns = agentview
    if reverse_rows is None or reverse_columns is None:
        raise CheckpointError(
            f"{file} does not say which way up its pictures are stored, and too little moves in them to tell; give "
            "--sft.demo-pictures opengl (upside down, as LIBERO and OpenVLA store them), upright, turned (LIBERO's "
            "turned by 180 degrees) or mirrored (LIBERO's with left and right exchanged)."
        )
    flips = reverse_rows, reverse_columns
    return flips, (flips[0] if wrist[0] is None else wrist[0], flips[1] if wrist[1] is None else wrist[1])


def _tell_flips(
    pairs: Sequence[tuple[Samples, Samples]], columns: tuple[int, int], upright: tuple[int, int], least: float
) -> tuple[bool | None, bool | None]:
    """Whether (rows, columns) are reversed; None where too little moves.

    Args:
        pairs: Of each demonstration, what says how things go right and down.
        columns: Which explaining number tells of each.
        upright: Its sign in an upright picture.
        least: Weakest shift that counts.
    """
    told: list[bool | None] = []
    for samples, column, sign in zip(zip(*pairs, strict=True), columns, upright, strict=True):
        fit = _fit(samples)
        clear = fit is not None and abs(fit[0][column]) > max(least, LEAST_ERRORS * fit[1][column])
        told.append(bool(fit[0][column] * sign < 0) if fit is not None and clear else None)
    return told[1], told[0]


def _fit(parts: Sequence[Samples]) -> tuple[Float, Float] | None:
    """Least squares over all parts: coefficients and their standard errors (White's); None where they are not fixed.

    Fitted twice, the second time without what the first missed widely: an arm that bumps into something.
    """
    given_MF, wanted_M = (np.concatenate(each) for each in zip(*parts, strict=True))
    for last in (False, True):
        num_features = given_MF.shape[1]
        if len(wanted_M) < 4 * num_features or np.linalg.matrix_rank(given_MF) < num_features:
            return None
        inverse_FF = np.linalg.pinv(given_MF.T @ given_MF)
        coefficients_F = inverse_FF @ given_MF.T @ wanted_M
        missed_M = np.abs(wanted_M - given_MF @ coefficients_F)
        if not last:
            kept_M = missed_M <= WIDE_MISS * np.median(missed_M)
            given_MF, wanted_M = given_MF[kept_M], wanted_M[kept_M]
    weighted_MF = given_MF * missed_M[:, None]
    return coefficients_F, np.sqrt(np.diag(inverse_FF @ (weighted_MF.T @ weighted_MF) @ inverse_FF))


def _motion(moved_mm_T3: Float, actions_TA: Float) -> Samples:
    """Each displacement between rows t and t+1 by the actions at t + `LAGS` and the two displacements before it."""
    t = np.arange(max(2, -min(LAGS)), len(actions_TA) - max(LAGS))
    by = [*(actions_TA[t + lag, :3] for lag in LAGS), moved_mm_T3[t - 1], moved_mm_T3[t - 2]]
    return np.stack(by, axis=-1).reshape(-1, len(by)), moved_mm_T3[t].reshape(-1)


def _grey(images_THWC: NDArray[np.uint8]) -> Float:
    stride = max(1, images_THWC.shape[1] // PICTURE_SIDE)
    grey_THW: Float = images_THWC[:, ::stride, ::stride].mean(axis=-1)
    return grey_THW


def _where_it_moves(grey_THW: Float) -> tuple[Float, Float]:
    """Centre of what changes between consecutive pictures, (T-1,) right and down in [0, 1]; NaN where nothing does."""
    change_THW = np.abs(np.diff(grey_THW, axis=0))
    change_THW[change_THW < MOVED_LEVELS] = 0.0
    total_T = change_THW.sum(axis=(1, 2))
    share_T = np.divide(1.0, total_T, out=np.full_like(total_T, np.nan), where=total_T > 0)
    height, width = grey_THW.shape[1:]
    return (
        change_THW.sum(axis=1) @ np.arange(width) * share_T / width,
        change_THW.sum(axis=2) @ np.arange(height) * share_T / height,
    )


def _how_it_flows(grey_THW: Float) -> tuple[Float, Float]:
    """The one shift that best explains each change of picture (Lucas and Kanade 1981), shares of it right and down."""
    change_THW, mean_THW = np.diff(grey_THW, axis=0), (grey_THW[1:] + grey_THW[:-1]) / 2
    down_THW, right_THW = np.gradient(mean_THW, axis=(1, 2))
    axes = (1, 2)
    rr, rd, dd = (right_THW**2).sum(axes), (right_THW * down_THW).sum(axes), (down_THW**2).sum(axes)
    rc, dc = -(right_THW * change_THW).sum(axes), -(down_THW * change_THW).sum(axes)
    determinant = rr * dd - rd**2
    share = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant > 1e-6 * rr * dd)
    height, width = grey_THW.shape[1:]
    return (dd * rc - rd * dc) * share / width, (rr * dc - rd * rc) * share / height
