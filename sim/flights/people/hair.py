"""Hair, beards and caps: the scalp pushed out, plus sheets and ellipsoids for long hair."""

from __future__ import annotations

import numpy as np

from gearshift.sim.flights.people.makehuman import BONES
from gearshift.sim.flights.people.parts import MeshParts, ellipsoid, sheet_faces
from gearshift.sim.flights.people.people import Body, Person, bone
from gearshift.sim.flights.shapes.geometry import Float64, lattice_noise, smoothstep
from gearshift.sim.flights.shapes.surfaces import Layer

# Thickness [m] of the hair at the crown and at the sides, by style.
_THICKNESS = {
    "buzz": (0.004, 0.003),
    "short": (0.022, 0.010),
    "crop": (0.032, 0.006),
    "afro": (0.062, 0.055),
    "bob": (0.022, 0.022),
    "long": (0.018, 0.018),
    "ponytail": (0.012, 0.010),
    "bun": (0.012, 0.010),
    "receding": (0.006, 0.010),
    "bald": (0.0, 0.0),
}
# Lower edge of the hair above eye height [m] against position from back to front [m].
_LINE_X = (-0.12, -0.06, -0.01, 0.02, 0.06, 0.10)
_LINE_Z = (-0.085, -0.075, -0.03, 0.015, 0.050, 0.062)


def add_hair(parts: MeshParts, body: Body, person: Person, *, cap: bool, cap_albedo: float) -> None:
    """Grow hair, beard or a cap on the body, which must be the first part."""
    vertices, albedo, texture = parts.first
    scale = body.stature / 1.72
    head_joint = body.joints[bone("head")]
    on_head = body.weights[: len(vertices), bone("head")] > 0.5
    crown = np.array([head_joint[0] + 0.015 * scale, 0.0, body.eye_height + 0.02 * scale])
    local = (vertices - crown) / scale
    height = (vertices[:, 2] - body.eye_height) / scale
    line = np.interp(local[:, 0], _LINE_X, _LINE_Z)
    if person.hair == "receding" and not cap:
        bare = (local[:, 2] > 0.05) & (local[:, 0] > -0.06) & (np.abs(local[:, 1]) < 0.055)
        line = np.where(bare, 1.0, line)
    scalp = smoothstep(line - 0.006, line + 0.006, height) * on_head
    scalp[body.eyes] = 0.0
    if person.hair == "bald" and not cap:
        scalp = scalp * 0.0
    top, side = (0.012, 0.012) if cap else _THICKNESS[person.hair]
    upness = smoothstep(0.0, 0.09, local[:, 2])
    length = person.hair_length
    rough = 1 + 0.35 * lattice_noise(vertices, 0.03, person.seed + 1)
    thickness = scalp * (side + (top - side) * upness) * length * rough * scale
    outward = local / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-6)
    vertices += outward * thickness[:, None]
    colour = cap_albedo if cap else person.hair_albedo
    albedo += scalp * np.where(person.hair == "buzz", 0.75, 1.0) * (colour - albedo)
    texture[:, 2] = np.where(scalp > 0.5, float(Layer.FABRIC if cap else Layer.HAIR), texture[:, 2])
    _grow_beard(body, person, vertices, albedo, texture)
    if cap:
        centre = crown + np.array([0.115, 0.0, 0.055]) * scale
        brim = ellipsoid(centre, np.array([0.075, 0.075, 0.008]) * scale)
        parts.add_rigid(brim, "head", cap_albedo, Layer.FABRIC)
    if person.hair in ("bob", "long"):
        _add_curtain(parts, person, crown, scale)
    if person.hair == "ponytail":
        tail = ellipsoid(
            crown + np.array([-0.125, 0.0, -0.07 * length]) * scale,
            np.array([0.035, 0.035, 0.12 * length]) * scale,
        )
        parts.add_rigid(tail, "head", person.hair_albedo, Layer.HAIR)
    if person.hair == "bun":
        bun = ellipsoid(crown + np.array([-0.095, 0.0, 0.07]) * scale, np.full(3, 0.042) * scale)
        parts.add_rigid(bun, "head", person.hair_albedo, Layer.HAIR)


def _grow_beard(
    body: Body, person: Person, vertices: Float64, albedo: Float64, texture: Float64
) -> None:
    """Darken and thicken cheeks, chin and upper lip."""
    if person.beard <= 0:
        return
    scale = body.stature / 1.72
    eye_x = body.vertices[body.eyes][:, 0].max()
    x = (vertices[:, 0] - eye_x) / scale
    y = np.abs(vertices[:, 1]) / scale
    z = (vertices[:, 2] - body.eye_height) / scale
    mask = smoothstep(-0.1, -0.06, x) * smoothstep(-0.14, -0.125, z)
    mask *= smoothstep(-0.045, -0.07, z + 0.35 * np.clip(0.05 - y, 0, 1))
    lips = smoothstep(0.012, 0.004, np.abs(z + 0.072)) * smoothstep(0.03, 0.02, y)
    mask *= 1 - 0.8 * lips
    mask *= body.weights[: len(vertices), bone("head")] > 0.3
    mask[body.eyes] = 0.0
    vertices[:, 0] += mask * 0.012 * person.beard**2 * scale
    vertices[:, 2] -= mask * 0.010 * person.beard**2 * scale * smoothstep(-0.09, -0.12, z)
    albedo += min(1.0, 0.35 + 0.6 * person.beard) * mask * (1.3 * person.hair_albedo - albedo)
    texture[:, 2] = np.where(mask > 0.6, float(Layer.HAIR), texture[:, 2])


def _add_curtain(parts: MeshParts, person: Person, crown: Float64, scale: float) -> None:
    """A sheet of hair that hangs from the crown around back and sides, resting on the shoulders."""
    rows, columns = 12, 25
    drop = (0.13 if person.hair == "bob" else 0.30) * person.hair_length
    angle = np.radians(np.linspace(-128, 128, columns))
    t = np.linspace(0, 1, rows)[:, None]
    arc = np.minimum(t / 0.45, 1.0)
    radius = 0.098 * np.sin(arc * np.pi / 2) ** 0.8 + 0.012 * np.clip(t - 0.45, 0, 1)
    height = 0.118 * np.cos(arc * np.pi / 2) - np.clip((t - 0.45) / 0.55, 0, 1) * drop
    ripple = 1 + 0.05 * np.sin(7 * angle + person.seed) * t
    x = -radius * np.cos(angle) * 1.12 * ripple - 0.01
    y = radius * np.sin(angle) * 0.92 * ripple
    z = np.broadcast_to(height, x.shape)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3) * scale + crown
    weights = np.zeros((len(points), len(BONES)))
    below = smoothstep(-0.05, -0.25, z.ravel())
    weights[:, bone("head")] = 1 - 0.6 * below
    weights[:, bone("spine_03")] = 0.6 * below
    uv = np.stack([points[:, 1] + points[:, 0], points[:, 2]], axis=1) * 1.6
    texture = np.column_stack([uv, np.full(len(points), float(Layer.HAIR))])
    albedo = np.full(len(points), person.hair_albedo)
    parts.add(points, sheet_faces(rows, columns), weights, albedo, texture)
