"""Clothes, hair and accessories, shaped from the body's own mesh and drawn anew for each flight.

A garment is a region of the body (by bone weights and heights) that is smoothed, pushed out along
the normals and given its own brightness and cloth; skirts, long hair, caps and bags add meshes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.people.hair import add_hair
from gearshift.sim.flights.people.parts import MeshParts, ellipsoid, ring
from gearshift.sim.flights.people.people import Body, Person, bone
from gearshift.sim.flights.shapes.geometry import (
    Float32,
    Float64,
    Int32,
    bump,
    lattice_noise,
    smooth_over_mesh,
    smoothstep,
    vertex_normals,
)
from gearshift.sim.flights.shapes.surfaces import Layer

_TOPS = ("tshirt", "shirt", "sweater", "jacket", "hoodie", "tank", "coat")
_TOP_SHARES = (0.34, 0.19, 0.14, 0.11, 0.14, 0.04, 0.04)
_BOTTOMS = ("trousers", "jeans", "shorts", "leggings", "skirt")


@dataclass(frozen=True, slots=True)
class Outfit:
    """What is worn in one flight: lengths in metres or shares of a limb, albedos in 0..1."""

    seed: int
    top: str
    top_albedo: float
    top_layer: int
    inner_albedo: float
    sleeve: float
    hem: float
    looseness: float
    bottom: str
    bottom_albedo: float
    bottom_layer: int
    cuff: float
    shoe_albedo: float
    sole_albedo: float
    cap: bool
    cap_albedo: float
    backpack: bool
    open_front: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A dressed person ready for posing and drawing, rest pose (see Body for the frame).

    vertices, normals: (n, 3). faces: (m, 3). weights: (n, bones). albedo: (n,). texture: (n, 3):
    u, v in repeats, layer. joints: (bones, 3). head_centre, crown: points of the rest pose that
    move with the head bone. sole_vertices: indices of the lowest vertices. drawn: indices
    of the vertices that faces use (a skirt is cut at its hem).
    """

    vertices: Float32
    normals: Float32
    faces: Int32
    weights: Float32
    albedo: Float32
    texture: Float32
    joints: Float64
    head_centre: Float64
    crown: Float64
    sole_vertices: Int32
    drawn: Int32


def _cloth_albedo(rng: np.random.Generator) -> float:
    """Cloth reflectance: black and dark are common, white and light not rare."""
    kind = rng.choice(4, p=[0.38, 0.27, 0.2, 0.15])
    low, high = ((0.02, 0.05), (0.05, 0.14), (0.14, 0.38), (0.38, 0.75))[int(kind)]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_outfit(person: Person, seed: int) -> Outfit:
    """Draw the clothes of one flight."""
    rng = np.random.default_rng([seed, 0xC107])
    top = str(rng.choice(_TOPS, p=_TOP_SHARES))
    sleeve = {"tshirt": rng.uniform(0.2, 0.45), "tank": 0.0}.get(top, rng.uniform(0.86, 0.97))
    if top == "shirt" and rng.random() < 0.35:
        sleeve = rng.uniform(0.3, 0.65)
    shares = (0.27, 0.35, 0.08, 0.12, 0.18) if person.female else (0.38, 0.42, 0.2, 0.0, 0.0)
    bottom = str(rng.choice(_BOTTOMS, p=shares))
    looseness = {"jacket": 2.0, "hoodie": 1.8, "coat": 2.4, "sweater": 1.4, "tank": 0.5}.get(
        top, 1.0
    )
    layers = (Layer.FABRIC, Layer.STRIPES, Layer.CHECK, Layer.LOGO, Layer.BLOCKS)
    return Outfit(
        seed=seed,
        top=top,
        top_albedo=_cloth_albedo(rng),
        top_layer=int(rng.choice([int(x) for x in layers], p=[0.55, 0.12, 0.09, 0.16, 0.08])),
        inner_albedo=_cloth_albedo(rng),
        sleeve=float(sleeve),
        hem={"coat": -0.32, "tank": -0.02}.get(top, float(rng.uniform(-0.13, 0.03))),
        looseness=looseness * float(rng.uniform(0.6, 1.5)),
        bottom=bottom,
        bottom_albedo=_cloth_albedo(rng) * 0.8,
        bottom_layer=int(Layer.DENIM if bottom == "jeans" else Layer.FABRIC),
        cuff=float(rng.uniform(-0.12, 0.1)) if bottom in ("shorts", "skirt") else 0.0,
        shoe_albedo=float(np.exp(rng.uniform(np.log(0.03), np.log(0.7)))),
        sole_albedo=float(rng.choice([0.04, 0.15, 0.7])),
        cap=bool(rng.random() < 0.08),
        cap_albedo=_cloth_albedo(rng),
        backpack=bool(rng.random() < 0.06),
        open_front=bool(top in ("jacket", "coat", "hoodie") and rng.random() < 0.5),
    )


@dataclass(frozen=True, slots=True)
class _Regions:
    """Soft memberships (n,) of the body's vertices, and how far along the arm each lies."""

    arm: Float64
    along_arm: Float64
    foot: Float64
    head: Float64
    neck: Float64


def _regions(body: Body) -> _Regions:
    def total(*names: str) -> Float64:
        return np.asarray(body.weights[:, [bone(n) for n in names]].sum(axis=1))

    along = np.zeros(len(body.vertices))
    for side in ("l", "r"):
        points = [body.joints[bone(f"{b}_{side}")] for b in ("upperarm", "lowerarm", "hand")]
        upper, lower = np.linalg.norm(points[1] - points[0]), np.linalg.norm(points[2] - points[1])
        axis_upper, axis_lower = (points[1] - points[0]) / upper, (points[2] - points[1]) / lower
        s = np.clip((body.vertices - points[0]) @ axis_upper, 0, upper)
        past = (body.vertices - points[1]) @ axis_lower
        t = np.where(past > 0, upper + past, s) / (upper + lower)
        mine = body.vertices[:, 1] * (1 if side == "l" else -1) > 0
        along = np.where(mine, t, along)
    return _Regions(
        arm=total(*(f"{b}_{s}" for b in ("upperarm", "lowerarm", "hand") for s in "lr")),
        along_arm=along,
        foot=total("foot_l", "foot_r", "ball_l", "ball_r"),
        head=total("head"),
        neck=total("neck_01"),
    )


def _top_mask(body: Body, outfit: Outfit, r: _Regions) -> Float64:
    """Soft region of the upper garment."""
    z = body.vertices[:, 2]
    hip = body.joints[bone("thigh_l"), 2]
    neck_z = body.joints[bone("neck_01"), 2]
    hem = hip + outfit.hem
    torso = smoothstep(hem - 0.008, hem + 0.008, z) * (r.arm < 0.5)
    sleeves = (r.arm >= 0.5) * smoothstep(outfit.sleeve + 0.02, outfit.sleeve - 0.02, r.along_arm)
    if outfit.top == "tank":
        sleeves = np.zeros_like(sleeves)
    collar = neck_z + (0.03 if outfit.top in ("shirt", "jacket", "coat", "hoodie") else -0.01)
    x, y = body.vertices[:, 0], body.vertices[:, 1]
    front = x > body.joints[bone("neck_01"), 0]
    limit = np.where(front, collar - 0.05 + 0.5 * np.abs(y), collar)
    below_neck = smoothstep(limit + 0.012, limit - 0.012, z)
    return np.asarray(np.clip(torso + sleeves, 0, 1) * below_neck * (r.head < 0.3))


def _bottom_mask(body: Body, outfit: Outfit, r: _Regions) -> Float64:
    """Soft region of trousers or shorts (under a skirt: none)."""
    z = body.vertices[:, 2]
    waist = body.joints[bone("spine_01"), 2] + 0.02
    knee, ankle = body.joints[bone("calf_l"), 2], body.joints[bone("foot_l"), 2]
    low = {"shorts": knee + outfit.cuff, "skirt": body.joints[bone("thigh_l"), 2] - 0.12}.get(
        outfit.bottom, ankle - 0.015
    )
    covered = smoothstep(low - 0.008, low + 0.008, z) * smoothstep(waist + 0.02, waist, z)
    return np.asarray(covered * (r.arm < 0.5))


def _face_albedo(body: Body, person: Person, albedo: Float64) -> Float64:
    """Darken brows, eye sockets, lips and nostrils; slightly lighter nose and forehead."""
    eye = body.vertices[body.eyes]
    scale = body.stature / 1.72
    x = (body.vertices[:, 0] - eye[:, 0].max()) / scale
    y = np.abs(body.vertices[:, 1]) / scale
    z = (body.vertices[:, 2] - body.eye_height) / scale
    eye_y = float(np.abs(eye[:, 1]).mean()) / scale
    front = (x > -0.035) & (np.abs(z) < 0.12)
    side = np.abs(y - eye_y)
    brow = 0.75 * front * bump(z, 0.021, 0.007) * smoothstep(0.033, 0.018, side)
    socket = 0.4 * front * bump(z, 0.0, 0.012) * smoothstep(0.028, 0.012, side)
    lips = 0.3 * front * bump(z, -0.071, 0.008) * smoothstep(0.032, 0.018, y)
    nostril = 0.4 * front * bump(z, -0.045, 0.006) * smoothstep(0.018, 0.008, y)
    out = albedo.copy()
    out += brow * (1.3 * person.hair_albedo - out)
    out *= 1 - socket
    out *= (1 - lips) * (1 - nostril)
    out[body.eyes] = 0.2
    return out


def dress(body: Body, person: Person, outfit: Outfit) -> Figure:
    """Put clothes, hair and accessories on a body."""
    rng = np.random.default_rng([outfit.seed, 0xD4E5])
    r = _regions(body)
    vertices, faces = body.vertices.copy(), body.faces
    top, bottom = _top_mask(body, outfit, r), _bottom_mask(body, outfit, r)
    ankle = body.joints[bone("foot_l"), 2]
    shoe = np.asarray((r.foot > 0.5) * smoothstep(ankle + 0.03, ankle + 0.01, vertices[:, 2]))
    cloth = np.clip(np.maximum(top, bottom), 0, 1)
    vertices = smooth_over_mesh(vertices, faces, 0.7 * np.maximum(cloth, shoe), 9)
    normals = vertex_normals(vertices, faces)

    loose = 0.012 * outfit.looseness
    leg_loose = {"leggings": 0.001, "jeans": 0.007, "skirt": 0.002}.get(outfit.bottom, 0.012)
    leg_loose *= rng.uniform(0.7, 1.7)
    folds = lattice_noise(vertices * [1, 1, 0.6], 0.07, int(rng.integers(1 << 30)))
    folds += 0.5 * lattice_noise(vertices * [1, 1, 1.4], 0.035, int(rng.integers(1 << 30)))
    thick_top = top * (0.004 + loose * (1 + 0.45 * folds))
    thick_bottom = bottom * (0.003 + leg_loose * (1 + 0.4 * folds))
    thick = np.maximum(
        np.where(top > 0.5, thick_top + 0.5 * thick_bottom, thick_bottom), 0.008 * shoe
    )
    vertices = vertices + normals * thick[:, None]

    albedo = np.full(len(vertices), person.skin) * (
        1 + 0.06 * lattice_noise(vertices, 0.05, person.seed)
    )
    albedo = _face_albedo(body, person, albedo)
    layer = np.full(len(vertices), float(Layer.SKIN))
    sole = smoothstep(0.028, 0.02, vertices[:, 2])
    for mask, value, cloth_layer in (
        (bottom, outfit.bottom_albedo, outfit.bottom_layer),
        (shoe, outfit.shoe_albedo, Layer.FABRIC),
        (shoe * sole, outfit.sole_albedo, Layer.PLAIN),
        (top, outfit.top_albedo, outfit.top_layer),
    ):
        albedo += mask * (value - albedo)
        layer = np.where(mask > 0.5, float(cloth_layer), layer)
    if outfit.open_front:
        x, y = body.vertices[:, 0], np.abs(body.vertices[:, 1])
        gap = 0.035 + 0.25 * np.clip(body.joints[bone("neck_01"), 2] - vertices[:, 2], 0, 0.4) ** 2
        opening = top * (x > 0.05) * smoothstep(gap + 0.012, gap - 0.004, y) * (r.arm < 0.4)
        albedo += opening * (outfit.inner_albedo - albedo)
        vertices -= normals * (0.5 * thick * opening)[:, None]

    uv = np.stack([vertices[:, 1] + 0.8 * vertices[:, 0], vertices[:, 2]], axis=1) * 1.6
    parts = MeshParts()
    uses_skirt = outfit.bottom == "skirt"
    body_only = slice(0, body.skirt.start)
    parts.add(
        vertices[body_only],
        faces,
        body.weights[body_only],
        albedo[body_only],
        np.column_stack([uv[body_only], layer[body_only]]),
    )
    if uses_skirt:
        _add_skirt(parts, body, outfit)
    add_hair(parts, body, person, cap=outfit.cap, cap_albedo=outfit.cap_albedo)
    _add_accessories(parts, body, person, outfit)
    return _finish(parts, body)


def _add_skirt(parts: MeshParts, body: Body, outfit: Outfit) -> None:
    """The base mesh's skirt helper down to the drawn hem."""
    vertices = body.vertices[body.skirt]
    faces = body.skirt_faces - body.skirt.start
    knee = body.joints[bone("calf_l"), 2]
    keep = vertices[faces][:, :, 2].min(axis=1) > knee + 2.0 * outfit.cuff
    albedo = np.full(len(vertices), outfit.bottom_albedo)
    uv = np.stack([vertices[:, 1] + 0.8 * vertices[:, 0], vertices[:, 2]], axis=1) * 1.6
    layer = np.full(len(vertices), float(outfit.bottom_layer))
    parts.add(
        vertices * [1.04, 1.04, 1.0],
        faces[keep],
        body.weights[body.skirt],
        albedo,
        np.column_stack([uv, layer]),
    )


def _add_accessories(parts: MeshParts, body: Body, person: Person, outfit: Outfit) -> None:
    """Glasses, the hood of a hoodie, a backpack."""
    s = body.stature / 1.72
    eye = body.vertices[body.eyes]
    if person.glasses:
        for sign in (-1.0, 1.0):
            centre = [eye[:, 0].max() + 0.012 * s, sign * np.abs(eye[:, 1]).mean(), body.eye_height]
            parts.add_rigid(ring(np.array(centre), 0.022 * s, 0.0013), "head", 0.06, Layer.PLAIN)
    neck = body.joints[bone("neck_01")]
    if outfit.top == "hoodie":
        hood = ellipsoid(neck + np.array([-0.075 * s, 0, -0.02]), np.array([0.05, 0.11, 0.075]) * s)
        parts.add_rigid(hood, "spine_03", outfit.top_albedo * 0.9, Layer.FABRIC)
    if outfit.backpack:
        back = float(body.vertices[:, 0][np.abs(body.vertices[:, 2] - neck[2] + 0.2) < 0.1].min())
        middle = np.array([back - 0.06, 0, neck[2] - 0.24 * s])
        bag = ellipsoid(middle, np.array([0.1, 0.16, 0.24]) * s, square=0.6)
        parts.add_rigid(bag, "spine_03", outfit.inner_albedo, Layer.FABRIC)


def _finish(parts: MeshParts, body: Body) -> Figure:
    vertices, faces, weights, albedo, texture = parts.joined()
    crown_z = body.stature
    head_x = float(body.joints[bone("head"), 0]) + 0.02
    centre = np.array([head_x, 0.0, crown_z - 0.12 * body.stature / 1.72])
    lowest = np.argsort(vertices[:, 2])[:300]
    return Figure(
        vertices=vertices.astype(np.float32),
        normals=vertex_normals(vertices, faces).astype(np.float32),
        faces=faces,
        weights=weights.astype(np.float32),
        albedo=albedo.astype(np.float32),
        texture=texture.astype(np.float32),
        joints=body.joints,
        head_centre=centre,
        crown=np.array([head_x, 0.0, crown_z]),
        sole_vertices=lowest.astype(np.int32),
        drawn=np.unique(faces).astype(np.int32),
    )
