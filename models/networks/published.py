"""Architectures as others published them."""

from __future__ import annotations

from gearshift.models.networks.architecture import Architecture, Conv, Pool, chain


def frontnet(height: int, width: int, channels: int = 32, outputs: int = 4) -> Architecture:
    """PULP-Frontnet as published, for an image of height x width."""
    c = channels
    blocks = (
        Conv(c, 5, 2),
        Pool(),
        *(Conv(c, 3, 2), Conv(c)),
        *(Conv(2 * c, 3, 2), Conv(2 * c)),
        *(Conv(4 * c, 3, 2), Conv(4 * c)),
    )
    return chain(f"Frontnet{width}x{c}", "PULP-Frontnet", blocks, outputs, (height, width))
