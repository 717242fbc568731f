"""flight.toml: what is wrong is named with its line; overrides; the schema; feasibility."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.cli import main
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.launch import configuration
from gearshift.runtime.launch.configuration import json_schema, read_flight_config
from gearshift.runtime.launch.configuration_tables import EXAMPLE, as_toml
from gearshift.runtime.launch.feasibility import check_flight, networks_per_frame
from gearshift.runtime.launch.setup import flown_ensemble, flown_policy, flown_threshold
from gearshift.runtime.sinks.sink_registry import find_sink
from gearshift.runtime.types import NetworkRole

MINIMAL = """\
schema_version = 1
[source]
kind = "recording"
path = "flight.mcap"
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(more: str = "", text: str = MINIMAL) -> Path:
        path = tmp_path / "flight.toml"
        path.write_text(text + more)
        return path

    return write_file


def test_a_file_needs_little(write: Any) -> None:
    config = read_flight_config(write())
    assert config.sections.ensemble.name == "D1"
    assert config.sinks == ()
    assert config.source.max_age_ms == 200.0
    assert config.sections.limits.max_estimate_age_s == 0.75


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[policy]\ntreshold = 0.4\n", 6, "did you mean 'threshold'?"),
        ("[polcy]\n", 5, "did you mean 'policy'?"),
        ('[policy]\nfilter = "ancor"\n', 6, "did you mean 'anchor'?"),
        ("[limits]\nmax_estimate_age_s = 0.8\n", 6, "expected a number <= 0.75"),
        ("[limits]\nrate_hz = -1\n", 6, "expected a number > 0.0"),
        ('[[sinks]]\nkind = "jsonll"\n', 6, "did you mean 'jsonl'?"),
        ('[[sinks]]\nkind = "jsonl"\npth = "x"\n', 7, "did you mean 'path'?"),
        ('[[sinks]]\npath = "x"\n', 5, "lacks a kind"),
        ('[sinks]\nkind = "jsonl"\n', 5, "[[sinks]]"),
        (
            '[recording]\nfoldr = "x"\n',
            6,
            "key 'recording.foldr' is unknown; did you mean 'folder'?",
        ),
        ("[[recording]]\n", 5, "'recording' is a list of 1; expected a table"),
        ('[recording]\nkind = "jsonl"\n', 6, "[recording] has no kind"),
        ("[source.more]\n", 5, "key 'source.more' is unknown"),
        ("[policy.budget]\nlarge_share = 2.0\n", 6, "expected a number <= 1.0"),
        ("[policy.budget]\n", 5, "either large_share or mean_latency_ms"),
        ("[presence]\nappear = 0.1\n", 5, "0 <= vanish <= appear <= 1"),
        ('[log]\nlevel = "loud"\n', 6, "there are"),
        ("[prometheus]\nport = 70000\n", 6, "expected a whole number <= 65535"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write: Any, text: str, line: int, said: str) -> None:
    path = write(text)
    with pytest.raises(ConfigurationError) as caught:
        read_flight_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the table [source]"),
        (MINIMAL[19:], "schema_version is missing"),
        ("schema_version = 2\n" + MINIMAL[19:], "this gearshift reads schema_version = 1"),
        ("schema_version = 1\n", "lacks the table [source]"),
        ('schema_version = 1\n[source]\nkind = "recordin"\n', "did you mean 'recording'?"),
        ('schema_version = 1\n[source]\nkind = "recording"\n', "'path'"),
        ('schema_version = 1\n[source]\nkind = "recording"\npath = 3\n', "expected a string"),
        ("schema_version = 1\n[source\n", "no valid TOML"),
    ],
)
def test_a_file_that_cannot_fly(write: Any, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"flight\.toml") as caught:
        read_flight_config(write(text=text))
    assert said in str(caught.value)


def test_overrides_in_order(write: Any) -> None:
    path = write("[policy]\nthreshold = 0.1\nname = 'op'\n")
    environment = {
        "GEARSHIFT_RUN__POLICY__THRESHOLD": "0.2",
        "GEARSHIFT_RUN__SOURCE__PACE": "none",
        "GEARSHIFT_RUN": "not this one",
        "PATH": "/bin",
    }
    config = read_flight_config(path, [], environment)
    assert config.sections.policy.threshold == 0.2
    config = read_flight_config(path, ["policy.threshold=equal-error"], environment)
    assert config.sections.policy.threshold == "equal-error"
    assert config.resolved()["source"]["pace"] == "none"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("policy.treshold=1", "--set policy.treshold: key 'policy.treshold' is unknown"),
        ("polciy.name=op", "--set polciy.name: key 'polciy' is unknown; did you mean 'policy'"),
        ("presence.vanish=0.9", "--set presence.vanish: presence: vanish 0.9 and appear 0.6"),
        ("policy", "write key=value"),
        ("schema_version.x=1", "'schema_version' is no table"),
    ],
)
def test_a_wrong_override_names_itself(write: Any, override: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_flight_config(write(), [override])
    assert said in str(caught.value)


def test_a_wrong_variable_names_itself(write: Any) -> None:
    with pytest.raises(ConfigurationError, match="GEARSHIFT_RUN__SOURCE__LOP"):
        read_flight_config(write(), [], {"GEARSHIFT_RUN__SOURCE__LOP": "true"})


def test_several_sinks_of_a_kind_have_names_of_their_own(write: Any) -> None:
    sinks = '[[sinks]]\nkind = "jsonl"\npath = "a"\n[[sinks]]\nkind = "jsonl"\nrequired = false\n'
    config = read_flight_config(write(sinks + "[recording]\n"), more_sinks=["udp"])
    assert [s.name for s in config.sinks] == ["jsonl", "jsonl-2", "udp", "recording"]
    # A viewer that is added on the command line keeps no flight from starting.
    assert [s.required for s in config.sinks] == [True, False, False, True]


def test_recording_is_short_for_a_sink_of_that_kind(write: Any) -> None:
    sink = '[[sinks]]\nkind = "recording"\nfolder = "f"\n'
    short, long = (
        read_flight_config(write(text)) for text in ('[recording]\nfolder = "f"\n', sink)
    )
    assert short.sinks == long.sinks
    assert short.resolved() == long.resolved()
    (reached,) = read_flight_config(write("[recording]\n"), ["recording.folder=g"]).sinks
    assert reached.options.folder == "g"  # type: ignore[attr-defined]
    both = read_flight_config(write(sink + "[recording]\n"))
    assert [s.name for s in both.sinks] == ["recording", "recording-2"]


def test_an_option_that_every_table_has_is_refused(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Options(msgspec.Struct):
        required: bool = False

    plugin = replace(find_sink("udp"), options=Options)
    monkeypatch.setattr(configuration, "find_sink", lambda _: plugin)
    with pytest.raises(ConfigurationError, match=r":5: .*option 'required', which every table"):
        read_flight_config(write('[[sinks]]\nkind = "udp"\n'))


def test_options_that_say_what_does_not_fit(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(msgspec.Struct):
        width: int

        def __post_init__(self) -> None:
            if self.width % 2:
                raise ValueError("width must be even")

    plugin = replace(find_sink("udp"), options=Options)
    monkeypatch.setattr(configuration, "find_sink", lambda _: plugin)
    path = write('[[sinks]]\nkind = "udp"\nwidth = 3\n')
    with pytest.raises(ConfigurationError) as caught:
        read_flight_config(path)
    assert str(caught.value) == f"{path}:5: width must be even"


def test_the_example_is_valid_and_complete(write: Any) -> None:
    config = read_flight_config(write(text=EXAMPLE))
    # With its comments taken off, it names every key that there is.
    said = tomllib.loads(uncommented(EXAMPLE))
    for section, values in config.resolved().items():
        if isinstance(values, dict) and section not in ("source", "ensemble", "policy"):
            assert set(values) <= set(said[section]), section
    assert {"name", "engine", "engines"} == set(said["ensemble"])
    assert set(config.resolved()["policy"]) == set(said["policy"])


def uncommented(text: str) -> str:
    """Comments that are keys or tables become that; a table that stands twice is left out once."""
    lines, tables = [], set()
    for written in text.splitlines():
        bare = written.removeprefix("# ")
        is_value = " = " in bare.split("#")[0] or bare.startswith("[")
        line = bare if is_value else written
        if line.startswith("[") and not line.startswith("[["):
            if line.split("#")[0] in tables:
                continue
            tables.add(line.split("#")[0])
        lines.append(line)
    return "\n".join(lines)


def test_what_is_in_effect_reads_back(write: Any, tmp_path: Path) -> None:
    config = read_flight_config(write(text=EXAMPLE), ["policy.budget.large_share=0.3"])
    again = tmp_path / "again.toml"
    again.write_text(as_toml(config.resolved()))
    assert read_flight_config(again).resolved() == config.resolved()


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text(st.characters(blacklist_categories=["Cs"])),
)
TABLES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(SCALARS, max_size=3), st.dictionaries(st.text("ab -_é.", min_size=1), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc-_ é", min_size=1), TABLES, max_size=4))
def test_toml_text_reads_back(values: dict[str, Any]) -> None:
    def pruned(value: Any) -> Any:
        """Empty tables are not written."""
        if not isinstance(value, dict):
            return value
        inner = {k: pruned(v) for k, v in value.items()}
        return {k: v for k, v in inner.items() if v != {}}

    assert tomllib.loads(as_toml(values)) == pruned(values)


def test_the_schema_knows_every_plug_in(write: Any) -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for kind in ("recording", "images", "jsonl", "udp"):
        assert f'"{kind}"' in text
    assert '"max_age_ms"' in text
    assert '"truncated"' in text  # an option of one source only
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


def test_the_command(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("[policy]\nthreshold = 0.4\n[limits]\nrate_hz = 60\nprofile = 'gap8'\n")
    assert main(["config", "check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["policy"]["threshold"] == 0.4
    assert "modelled on gap8: frames will be missed" in err
    assert main(["config", "check", str(path), "--json", "--set", "policy.seed=3"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"]["seed"] == 3
    assert main(["config", "example"]) == 0
    assert capsys.readouterr().out == EXAMPLE
    assert main(["config", "schema"]) == 0
    assert "properties" in capsys.readouterr().out
    assert main(["config", "check", str(path), "--set", "policy.nme=op"]) == 1
    assert "did you mean 'name'" in capsys.readouterr().err


def test_a_rate_that_the_networks_cannot_hold_is_refused(write: Any) -> None:
    path = write("[policy]\nthreshold = 0.4\n[limits]\nrate_hz = 500\nprofile = 'gap8'\n")
    with pytest.raises(ConfigurationError) as caught:
        check_flight(read_flight_config(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:8: 500 Hz leaves 2.0 ms a frame, but even easy ones take ")
    assert "ms (F1), modelled on gap8" in message


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("deadline_ms = 1.0", "even easy frames take"),
        ("profile = 'nowhere.json'", "nowhere.json"),
        ("profile = 'gap9'", "there is no profile 'gap9'"),
    ],
)
def test_limits_that_cannot_be(write: Any, limits: str, said: str) -> None:
    profile = "" if "profile" in limits else "profile = 'gap8'\n"
    path = write(f"[policy]\nthreshold = 0.4\n[limits]\n{profile}{limits}\n")
    with pytest.raises(ConfigurationError, match=said):
        check_flight(read_flight_config(path))


def test_a_line_that_cannot_carry_the_frames_is_refused(write: Any) -> None:
    more = "[ensemble]\nengine = 'board:/dev/ttyACM0?baud=115200'\n[limits]\nrate_hz = 30\n"
    path = write(more)
    with pytest.raises(ConfigurationError) as caught:
        check_flight(read_flight_config(path))
    assert str(caught.value).startswith(f"{path}:6: the line cannot carry 30 Hz")
    assert "1 x 15360 bytes x 10 bits / 115200 baud = 1333 ms" in str(caught.value)


@pytest.mark.parametrize(
    ("baud", "rate", "said"),
    [
        (6_000_000, "rate_hz = 30\n", "frames will be missed at 30 Hz: 2 x 15360 bytes"),
        (115_200, "", "the line allows at most 0.8 Hz"),
        (12_000_000, "rate_hz = 30\n", ""),
    ],
)
def test_a_line_that_is_tight_is_warned_of(write: Any, baud: int, rate: str, said: str) -> None:
    engine = f"'board:/dev/ttyACM0?baud={baud}'"
    text = f"[ensemble.engines]\nsmall = {engine}\nlarge = {engine}\n[limits]\n{rate}"
    notes = check_flight(read_flight_config(write(text)))
    assert any(said in note for note in notes) if said else notes == []


@pytest.mark.parametrize(
    ("policy", "easy", "hard"),
    [
        ("op", "small", "small large"),
        ("aux-sm", "aux small", "aux large"),
        ("op-ahead", "small", "large"),
        ("hold", "", "large"),
        ("always-large", "large", "large"),
    ],
)
def test_which_networks_run(policy: str, easy: str, hard: str) -> None:
    expected = tuple(tuple(NetworkRole(r) for r in each.split()) for each in (easy, hard))
    assert networks_per_frame(find_policy(policy)) == expected


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ("[policy]\nname = 'oracle'\n", 6, "replay only"),
        ("[policy]\nname = 'opp'\n", 6, "did you mean"),
        (
            "[policy]\nname = 'always-small'\n[policy.budget]\nlarge_share = 0.5\n",
            7,
            "has no threshold",
        ),
        ("[policy]\nname = 'op'\n", 5, "needs a threshold"),
        ("[policy]\nthreshold = 'equal-eror'\n", 6, "has no operating point"),
        ("[policy]\nthreshold = nan\n", 6, "not a number"),
        ("[ensemble]\nname = 'D9'\n", 6, "unknown ensemble 'D9'"),
        ("[ensemble]\nname = 'D1'\nengine = 'onx'\n", 7, "unknown engine 'onx'"),
        ("[ensemble.engines]\nlarge = 'onx'\n", 6, "unknown engine 'onx'"),
    ],
)
def test_a_flight_that_cannot_be_put_together(write: Any, more: str, line: int, said: str) -> None:
    path = write(more)
    config = read_flight_config(path)

    def put_together() -> None:
        check_flight(config)
        flown_threshold(config, flown_policy(config), flown_ensemble(config))

    with pytest.raises(ConfigurationError) as caught:
        put_together()
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_what_only_the_source_knows_is_named_with_its_line(write: Any) -> None:
    path = write(text='schema_version = 1\n\n[source]\nkind = "v4l2"\ndevice = "video0"\n')
    with pytest.raises(ConfigurationError) as caught:
        check_flight(read_flight_config(path))
    assert str(caught.value).startswith(f"{path}:3: ")
