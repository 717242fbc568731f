"""The command line: instant help, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.runtime import cli
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.installation import install_line

HEAVY = ("numpy", "onnxruntime", "torch", "matplotlib", "rich", "cv2", "moderngl", "mcap", "google")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from gearshift.runtime import cli\n"
        "cli.build_parser(cli.load_commands()).format_help()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("command", sorted(cli.load_commands()))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([command, "--help"])
    assert exit_info.value.code == 0
    assert command in capsys.readouterr().out


def test_a_command_runs_although_another_is_broken(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gearshift.commands]\nbroken = no_such_module\n")
    code = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "-v", "config", "example"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "schema_version" in done.stdout


def test_one_command_loads_no_module_of_another() -> None:
    script = (
        "import sys\n"
        "from gearshift.runtime.cli import main\n"
        "main(['config', 'example'])\n"
        "print([m for m in sys.modules if m.endswith('_command')], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "['gearshift.runtime.commands.config_command']"


def test_wrong_usage_exits_2() -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["no-such-command"])
    assert exit_info.value.code == 2


class _Command:
    HELP = "a command of a test"
    EXTRA = "replay"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def register(self, parser: object) -> None:
        def run(_: object) -> int:
            raise self._error

        parser.set_defaults(run=run)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("no policy 'oq'"), 1, "gearshift: no policy 'oq'\n"),
        (
            ModuleNotFoundError("no", name="rich.table"),
            1,
            f"gearshift: 'demo' needs the package 'rich.table': {install_line('replay')}\n",
        ),
        (KeyboardInterrupt(), 130, "gearshift: interrupted\n"),
    ],
)
def test_known_errors_are_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "load_commands", lambda only: {"demo": _Command(error)})
    assert cli.main(["demo"]) == code
    assert capsys.readouterr().err == line


def test_unknown_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_commands", lambda only: {"demo": _Command(ZeroDivisionError())})
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])
