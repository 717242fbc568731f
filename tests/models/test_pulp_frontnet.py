"""Importing PULP-Frontnet's checkpoints: against the real ones where they are, or made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gearshift.models.gap8 import frontnet  # noqa: E402
from gearshift.models.pulp_frontnet import load_frontnet, read_frames, run_frontnet  # noqa: E402
from gearshift.models.torch_network import PoseNetwork  # noqa: E402
from gearshift.runtime.errors import FrameError, NetworkError  # noqa: E402

DATA = Path(__file__).parents[3] / "shared" / "data"


def their_state(network: PoseNetwork) -> dict[str, torch.Tensor]:
    """The state of a module of ours under PULP-Frontnet's names."""
    names = {"0": ("conv", "bn")}
    names |= {
        str(1 + 2 * stage + half): (f"layer{stage + 1}.conv{half}", f"layer{stage + 1}.bn{half}")
        for stage in range(3)
        for half in (1, 2)
    }
    state = {}
    for key, value in network.state_dict().items():
        parts = key.split(".")
        if parts[0] == "body":
            convolution, normalisation = names[parts[1]]
            owner = convolution if parts[2] == "0" else normalisation
            state[f"{owner}.{parts[3]}"] = value
        elif parts[0] == "head":
            state[f"fc.{parts[1]}"] = value
    state["conv.weight"] = state["conv.weight"] / 255
    return state


def test_a_checkpoint_computes_what_it_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(frontnet(96, 160, 16)).eval()
    torch.save({"model": their_state(network), "epoch": 1}, tmp_path / "a.pt")
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 160), dtype=np.uint8)
    loaded = load_frontnet(tmp_path / "a.pt")
    assert run_frontnet(loaded, frames) == pytest.approx(run_frontnet(network, frames), abs=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"conv.weight": torch.zeros(8, 1, 5, 5)}}, tmp_path / "a.pt")
    for name in ("a.pt", "missing.pt"):
        with pytest.raises(NetworkError, match="not a PULP-Frontnet checkpoint"):
            load_frontnet(tmp_path / name)


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="holds no frames"):
        read_frames(tmp_path)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_the_real_checkpoint_agrees_with_the_real_deployment() -> None:
    network = load_frontnet(DATA / "pulp-frontnet" / "Frontnet160x32.pt")
    content = (DATA / "gap8-frontnet-160x32" / "inputs.hex").read_bytes()
    frame = np.frombuffer(content, np.uint8).reshape(1, 96, 160)
    # The deployment was trained anew and is quantised; its golden output is x 2.47, y 0.56, z 0.38.
    assert run_frontnet(network, frame)[0, :3] == pytest.approx([2.47, 0.56, 0.38], abs=0.15)
