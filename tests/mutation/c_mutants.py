"""Mutation testing of the deciding core in C: what changes there does no test notice?

universalmutator (PyPI) changes one line at a time. A mutant counts when it compiles to other code
than the original and every mutant before it; it is killed when the tests that hold the core equal
to Python fail on it, crash, or do not come to an end. Survivors must stand in survivors-c.md with
the reason why they cannot be told from the original.

    python tests/mutation/c_mutants.py                    # every file, an hour or more
    python tests/mutation/c_mutants.py filter.c --sample 50
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRMWARE = ROOT / "firmware_bridge" / "firmware"
CORE_TESTS = ROOT / "tests" / "firmware_bridge" / "core"
LISTED = Path(__file__).with_name("survivors-c.md")
FILES = ("policy.c", "history.c", "difficulty.c", "filter.c", "portable.c", "scheduler.c")
TESTS = (
    "test_parity_policies.py",
    "test_parity_long.py",
    "test_board_configuration.py",
    "test_portable_arithmetic.py",
)
"""The likeliest to notice comes first; for portable.c that is the last one."""
IMPORTED = (
    "pytest",
    "hypothesis.extra.numpy",
    "gearshift.firmware_bridge.board.board_configuration",
    "gearshift.runtime.scheduling.scheduler",
    "gearshift.runtime.scheduling.scripted",
)
"""What the tests import and take longest to."""
LIMIT_S = 120
"""For one mutant's tests, of which the original takes a tenth."""
FLAGS = (
    *("-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-w", "-Iinclude", "-Icore"),
    # A step beyond an array ends the run, as it does in test_sanitized.py.
    *("-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed line; before and after are stripped."""

    file: str
    line: int
    before: str
    after: str
    source: bytes

    @property
    def name(self) -> str:
        """How survivors-c.md writes it, which holds for as long as the line does."""
        return f"`{self.file}`: `{self.before}` → `{self.after}`"


@dataclass(slots=True)
class Tally:
    """What became of a file's mutants. killed_by: per test or signal."""

    made: int = 0
    invalid: int = 0
    same: int = 0
    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    killed_by: Counter[str] = field(default_factory=Counter)


class Workshop:
    """A folder in which mutants are compiled and linked with the rest of the core."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "libgearshift.so"
        self._folder = folder
        self._compiler = os.environ.get("CC", "cc")
        self.originals: dict[str, bytes] = {}
        for source in [*(FIRMWARE / "core").glob("*.c"), CORE_TESTS / "driver.c"]:
            code = self.compile(source.read_bytes())
            if code is None:
                raise SystemExit(f"{source} does not compile")
            (folder / f"{source.stem}.o").write_bytes(code)
            self.originals[source.name] = code

    def compile(self, source: bytes) -> bytes | None:
        """The object of a source, None when it is none. Sources come from a pipe, so that nothing
        but the code tells objects apart."""
        target = self._folder / "mutant.out"
        done = subprocess.run(
            [self._compiler, *FLAGS, "-x", "c", "-c", "-o", str(target), "-"],
            input=source,
            cwd=FIRMWARE,
            capture_output=True,
            check=False,
        )
        return target.read_bytes() if done.returncode == 0 else None

    def link(self, file: str, code: bytes) -> bool:
        """Put a mutant of `file` in the place of the original; whether that is a library."""
        own = self._folder / "mutant.out"
        own.write_bytes(code)
        stem = Path(file).stem
        others = [str(path) for path in self._folder.glob("*.o") if path.stem != stem]
        command = [self._compiler, "-shared", "-o", str(self.library), str(own), *others]
        # A symbol that is not there shows when the library is loaded, and no test gets that far.
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def generate(file: str, folder: Path) -> Iterator[Mutant]:
    """Every mutant of a file, in the tool's order."""
    tool = shutil.which("mutate")
    if tool is None:
        raise SystemExit("there is no 'mutate': pip install universalmutator")
    source = FIRMWARE / "core" / file
    folder.mkdir()
    command = [tool, str(source), "c", "--noCheck", "--mutantDir", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    original = source.read_text().splitlines()
    number = re.compile(r"\.mutant\.(\d+)\.c$")
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := number.search(path.name))]
    for _, path in sorted(found):
        source_bytes = path.read_bytes()
        yield Mutant(file, *difference(original, path.read_text().splitlines()), source_bytes)


def difference(original: list[str], changed: list[str]) -> tuple[int, str, str]:
    """Line number, what stood there, what stands there now. A line that was put in is told with
    the one behind it, a line without a word with the one before it."""
    pairs = zip(original, changed, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), len(original) - 1)
    longer = max(0, len(changed) - len(original))
    before, after = original[place].strip(), " ".join(map(str.strip, changed[place:][: 1 + longer]))
    if place and not re.search(r"\w", before):
        above = original[place - 1].strip()
        before, after = f"{above} {before}", f"{above} {after}"
    return place + 1, before, after


def prepare_tests() -> None:
    """Import what every run needs, once; runs are forks of this process. A run gives the same
    verdict every time, and does not look for a smaller example of what it found."""
    from hypothesis import HealthCheck, Phase, settings

    for module in IMPORTED:
        importlib.import_module(module)
    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=tuple(HealthCheck),
    )
    settings.load_profile("mutation")


def run_tests(file: str, library: Path, log: Path) -> str | None:
    """What killed the library with a mutant of `file`, None when nothing did."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os.environ["GEARSHIFT_CORE_LIBRARY"] = str(library)
        import pytest

        order = TESTS[::-1] if file == "portable.c" else TESTS
        tests = [str(CORE_TESTS / name) for name in order]
        code = 1
        try:
            # Hypothesis was imported before pytest could look at it.
            calm = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
            code = int(pytest.main(["-q", "-x", "--tb=no", *calm, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    if os.WEXITSTATUS(status) == 0:
        return None
    said = re.search(r"^(?:FAILED|ERROR) \S*::(\w+)", log.read_text(), re.MULTILINE)
    return said[1] if said else "no library"


def judge(file: str, workshop: Workshop, folder: Path, sample: int | None, seed: int) -> Tally:
    """Try a file's mutants, or a random sample of them."""
    tally = Tally()
    seen = {workshop.originals[file]}
    mutants = list(generate(file, folder / Path(file).stem))
    tally.made = len(mutants)
    if sample is not None and sample < len(mutants):
        mutants = random.Random(seed).sample(mutants, sample)
    started = time.monotonic()
    for index, mutant in enumerate(mutants):
        code = workshop.compile(mutant.source)
        if code is None:
            tally.invalid += 1
            continue
        if code in seen:
            tally.same += 1
            continue
        seen.add(code)
        linked = workshop.link(file, code)
        killer = run_tests(file, workshop.library, folder / "log.txt") if linked else "no library"
        if killer is None:
            tally.survivors.append(mutant)
            report(f"{file}:{mutant.line}: survives: {mutant.before} → {mutant.after}")
        else:
            tally.killed += 1
            tally.killed_by[killer] += 1
        if index % 50 == 0:
            report(f"{file}: {index} of {len(mutants)}, {time.monotonic() - started:.0f} s")
    return tally


def report(line: str) -> None:
    """One line of progress."""
    sys.stderr.write(line + "\n")


def table(tallies: dict[str, Tally], listed: str) -> list[str]:
    """The result as Markdown."""
    lines = [
        "| file | mutants | no C | same code | tried | killed | survived | listed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for file, tally in tallies.items():
        survived = len(tally.survivors)
        known = sum(mutant.name in listed for mutant in tally.survivors)
        lines.append(
            f"| {file} | {tally.made} | {tally.invalid} | {tally.same} | "
            f"{tally.killed + survived} | {tally.killed} | {survived} | {known} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the files that are named; 1 when a survivor is not listed."""
    parser = argparse.ArgumentParser(description="Mutation testing of the deciding core in C.")
    parser.add_argument("files", nargs="*", default=FILES, help=f"of {', '.join(FILES)}")
    parser.add_argument("--sample", type=int, help="so many mutants of each file, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args(arguments)
    unknown = set(options.files) - set(FILES)
    if unknown:
        parser.error(f"no such file of the deciding core: {', '.join(sorted(unknown))}")
    prepare_tests()
    with tempfile.TemporaryDirectory(prefix="gearshift-mutants-") as place:
        folder = Path(place)
        workshop = Workshop(folder)
        first = options.files[0]
        workshop.link(first, workshop.originals[first])
        killer = run_tests(first, workshop.library, folder / "log.txt")
        if killer is not None:
            raise SystemExit(
                f"the original does not pass: {killer}\n{(folder / 'log.txt').read_text()}"
            )
        tallies = {
            file: judge(file, workshop, folder, options.sample, options.seed)
            for file in options.files
        }
    listed = LISTED.read_text()
    survivors = [mutant for tally in tallies.values() for mutant in tally.survivors]
    lines = [*table(tallies, listed), ""]
    lines += [f"- {m.name} (line {m.line})" for m in survivors if m.name not in listed]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(mutant.name not in listed for mutant in survivors))


if __name__ == "__main__":
    raise SystemExit(main())
