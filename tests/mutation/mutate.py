"""Mutation testing of one module: small faults are put in one by one, and its tests must notice.

mutmut derives import names from paths, but here package-dir maps folders to packages. So each run
works on a copy under build/mutation/NAME that is laid out as installed; nothing is edited in place.
Settings of a module are in NAME.toml beside this file; README.md says how to read the outcome, and
survivors-python.md lists the mutants that cannot be told from the original, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LISTED = HERE / "survivors-python.md"
PACKAGES = ("runtime", "models", "firmware_bridge", "sim")
SURVIVED = "survived"

# One draw for all mutants, or a mutant would be judged by luck; nothing is shrunk, it only has to
# fail.
CONFTEST = """
from hypothesis import Phase, settings

settings.register_profile(
    "mutation",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples={examples},
    phases=(Phase.explicit, Phase.generate),
)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What NAME.toml says.

    module: path from the repository's root. tests: pytest arguments. sample: at most so many
    mutants, drawn with `seed`; 0 for all. skip: lines that contain one of these are left alone.
    """

    name: str
    module: str
    tests: tuple[str, ...]
    sample: int = 0
    seed: int = 0
    examples: int = 40
    skip: tuple[str, ...] = ()

    @classmethod
    def read(cls, name: str) -> Target:
        """Read NAME.toml."""
        document = tomllib.loads((HERE / f"{name}.toml").read_text())
        for key in ("tests", "skip"):
            document[key] = tuple(document.get(key, ()))
        return cls(name, **document)


def main() -> int:
    """Run one module's mutants and print what survived; 1 when any did, 2 when mutmut stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(p.stem for p in HERE.glob("*.toml")))
    parser.add_argument("--sample", type=int, help="at most so many mutants (0: all)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="ends of names as a run shows them"
    )
    options = parser.parse_args()
    target = Target.read(options.name)
    sample = target.sample if options.sample is None else options.sample
    folder = stage(target)
    names = mutants(target, folder)
    if options.only:
        chosen = [name for name in names if name.endswith(tuple(options.only))]
    elif sample and len(names) > sample:
        chosen = sorted(random.Random(target.seed).sample(names, sample))
    else:
        chosen = names
    mutmut = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()"]
    # mutmut itself exits with 0 whatever survived.
    ran = subprocess.run([*mutmut, "run", "--max-children", "1", *chosen], cwd=folder, check=False)
    if ran.returncode:
        sys.stderr.write(f"{target.name}: mutmut stopped before it was done, see above\n")
        return 2
    statuses = outcomes(target, folder)
    counts = Counter(statuses[name] for name in chosen)
    alive = [name for name in chosen if statuses[name] in (SURVIVED, "no tests", "not checked")]
    equal = listed(target.module)
    for name in list(alive):
        shown = subprocess.run(
            [*mutmut, "show", name], cwd=folder, check=True, capture_output=True, text=True
        )
        if changed(shown.stdout) in equal:
            alive.remove(name)
            counts[SURVIVED] -= 1
            counts["equal"] += 1
        else:
            sys.stdout.write(shown.stdout)
    detail = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    sys.stdout.write(f"{target.module}: {len(names)} mutants, {len(chosen)} tried: {detail}\n")
    return int(bool(alive))


def listed(module: str) -> set[tuple[str, str]]:
    """The changes (before, after) of a module that survivors-python.md gives a reason for."""
    entries = re.findall(r"^- `(.*?)`: `(.*)` → `(.*)`$", LISTED.read_text(), re.MULTILINE)
    return {(before, after) for where, before, after in entries if where == module}


def changed(diff: str) -> tuple[str, str]:
    """What a diff takes away and what it puts in, each on one line."""
    taken, put = (
        " ".join(line[1:].strip() for line in diff.splitlines() if line.startswith(f"{sign} "))
        for sign in "-+"
    )
    return taken, put


def stage(target: Target) -> Path:
    """A copy of the packages as they are installed, of the tests, and mutmut's settings."""
    folder = ROOT / "build" / "mutation" / target.name
    shutil.rmtree(folder, ignore_errors=True)
    unneeded = shutil.ignore_patterns("__pycache__", "*.npz", "*.egg-info")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / "src/gearshift" / package, ignore=unneeded)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=unneeded)
    (folder / "conftest.py").write_text(CONFTEST.format(examples=target.examples))
    pytest_settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/gearshift/{target.module}"],
        "also_copy": ["conftest.py"],
        "do_not_mutate_patterns": list(target.skip),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-profile=mutation"],
        "pytest_add_cli_args_test_selection": list(target.tests),
        "use_git_change_detection": False,
    }
    # JSON's strings and lists are TOML's.
    lines = ["[tool.mutmut]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    lines += ["[tool.pytest.ini_options]"]
    lines += [f"{k} = {json.dumps(v)}" for k, v in pytest_settings["ini_options"].items()]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")
    return folder


def mutants(target: Target, folder: Path) -> list[str]:
    """The names that mutmut will give, known beforehand so that a sample can be drawn."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    os.chdir(folder)
    path = Path("src/gearshift") / target.module
    found = mutate_file_contents(str(path), path.read_text())
    return [get_mutant_name(path, name) for name in found.mutant_names]


def outcomes(target: Target, folder: Path) -> dict[str, str]:
    """What became of each mutant, in mutmut's words."""
    from mutmut.stats import status_by_exit_code

    meta = folder / "mutants/src/gearshift" / f"{target.module}.meta"
    codes = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: status_by_exit_code[code] for name, code in codes.items()}


if __name__ == "__main__":
    raise SystemExit(main())
