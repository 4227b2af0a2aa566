"""What the command line calls a policy: a Python function, or the convention and address of a server."""

from __future__ import annotations

from tgrpo_envs.bridges.policy import FunctionPolicy, OutsidePolicy
from tgrpo_envs.errors import ConfigError, UnknownNameError

CONVENTIONS = ("openpi", "openvla", "oft", "vla-eval")
DRAWN_PX = 256
"""What a Python function sees unless it is said."""


def open_policy(
    name: str,
    *,
    timeout_s: float,
    api_key: str | None = None,
    unnorm_key: str | None = None,
    image_size: int | None = None,
    replan_steps: int | None = None,
) -> OutsidePolicy:
    """The policy of that name.

    Args:
        name: ``module:function``, or ``openpi:ws://host:port``, ``openvla:http://host:port``, ``oft:http://host:port``,
            ``vla-eval:ws://host:port``.
        timeout_s: How long a server may think about one decision.
        api_key: For openpi's servers.
        unnorm_key: For OpenVLA's and OFT's servers.
        image_size: Side of the pictures to draw, pixels; None takes the convention's.
        replan_steps: Control steps to play of each answer; None takes the convention's.

    Raises:
        UnknownNameError: No such convention.
        ConfigError: No such function, an address that is none, or a key that the policy does not take.
        PolicyError: The server cannot be reached.
    """
    convention, _, url = name.partition(":") if "://" in name else ("", "", "")
    for option, value, takers in (
        ("--api-key", api_key, ("openpi",)),
        ("--unnorm-key", unnorm_key, ("openvla", "oft")),
    ):
        if value is not None and convention not in takers:
            raise ConfigError(
                f"{option} is for servers of {' and '.join(takers)}, and the policy is {name}; leave it out."
            )
    if not convention:
        return FunctionPolicy(name, image_size or DRAWN_PX, replan_steps or 1)
    if convention == "openpi":
        from tgrpo_envs.bridges.openpi import OpenPiPolicy

        return OpenPiPolicy(url, timeout_s=timeout_s, api_key=api_key, image_size=image_size, replan_steps=replan_steps)
    if convention in ("openvla", "oft"):
        from tgrpo_envs.bridges.openvla import OpenVlaPolicy

        return OpenVlaPolicy(
            url,
            "openvla" if convention == "openvla" else "oft",
            timeout_s=timeout_s,
            unnorm_key=unnorm_key,
            image_size=image_size,
            replan_steps=replan_steps,
        )
    if convention == "vla-eval":
        from tgrpo_envs.bridges.vla_eval import VlaEvalPolicy

        if replan_steps not in (None, 1):
            raise ConfigError(f"--replan-steps is {replan_steps}; vla-eval's servers answer one step, so leave it out.")
        return VlaEvalPolicy(url, timeout_s=timeout_s, image_size=image_size)
    raise UnknownNameError("convention of a policy server (as in openpi:ws://host:port)", convention, CONVENTIONS)
