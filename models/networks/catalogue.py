"""The named architectures: the zoo's networks, candidates and controls. No framework needed.

Budgets: M1.0 at most 14.2 M MAC, F1 at 35-60 % and F2 at 12-30 % of M1.0's modelled
GAP8 latency, aux at most 25 % of F2's.
"""

from __future__ import annotations

from gearshift.models.networks.architecture import Architecture, Conv, Pool, Separable, chain
from gearshift.models.networks.published import frontnet
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import POSE_COMPONENTS, HeadGrid

HEIGHT, WIDTH = 96, 160
GRID = HeadGrid()
AUX = "aux"
SHAPE = (HEIGHT, WIDTH)
OUTPUTS = len(POSE_COMPONENTS)


def architectures() -> dict[str, Architecture]:
    """Every named architecture, in the order in which tables show them."""
    named = (
        # A Frontnet of half the width, its last stage narrower still.
        chain(
            "F1",
            "PULP-Frontnet",
            (
                Conv(18, 5, 2),
                Pool(),
                *(Conv(20, 3, 2), Conv(24)),
                *(Conv(40, 3, 2), Conv(48)),
                *(Conv(64, 3, 2), Conv(64)),
            ),
            OUTPUTS,
            SHAPE,
        ),
        # A Frontnet whose stem strides past the pooling: depth served better than width.
        chain(
            "F2",
            "PULP-Frontnet",
            (Conv(16, 5, 4), Conv(24, 3, 2), Conv(32, 3, 2), Conv(48), Conv(64, 3, 2)),
            OUTPUTS,
            SHAPE,
        ),
        # A dense stem as Frontnet's, then MobileNetV1's separable blocks, and a flattened head.
        chain(
            "M1.0",
            "MobileNetV1",
            (
                Conv(24, 5, 2),
                Pool(),
                Conv(48, 3, 2),
                *(Separable(96), Separable(96)),
                *(Separable(160, 2), Separable(160), Separable(160)),
                *(Separable(192, 2), Separable(192)),
            ),
            OUTPUTS,
            SHAPE,
        ),
        chain(
            AUX,
            "head localiser",
            (Conv(8, 5, 4), Conv(16, 5, 4)),
            GRID.classes,
            SHAPE,
        ),
        # Static control where D1 is judged: costs between F1 and the large network.
        frontnet(HEIGHT, WIDTH, channels=24),
        frontnet(HEIGHT, WIDTH),
    )
    return {architecture.name: architecture for architecture in named}


def find_architecture(name: str) -> Architecture:
    """The architecture of that name; raises ConfigurationError naming the known ones."""
    known = architectures()
    if name not in known:
        raise ConfigurationError(f"unknown network {name!r}; known are {', '.join(known)}")
    return known[name]


def is_localiser(architecture: Architecture) -> bool:
    """Whether the outputs are scores of head cells rather than a pose."""
    return architecture.outputs == GRID.classes
