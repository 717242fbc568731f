from __future__ import annotations

import subprocess
import sys


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import argparse, sys\n"
        "from gearshift.sim.commands import flights_command as command\n"
        "command.register(argparse.ArgumentParser())\n"
        "heavy = {'numpy', 'cv2', 'moderngl', 'embreex', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
