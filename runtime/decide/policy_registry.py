"""Finding policies: the built-in ones, plug-ins by entry point, and a file of the user's.

A plug-in names its policy in the entry-point group `gearshift.policies`:
`mine = "my_package.policies:MINE"`. A file is given as `./mine.py:signal`. Either attribute is a
`Policy`, which `@policy(...)` makes of a plain function:

    import gearshift

    @gearshift.policy(probe="small", uses_history=True)
    def signal(context, calibration):
        return gearshift.weighted_distance(context.probe, context.accepted, calibration)
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import (
    Action,
    Policy,
    PolicyOptions,
    Probe,
    Signal,
    SignalContext,
)
from gearshift.runtime.errors import ConfigurationError, named
from gearshift.runtime.plugins import PluginTable
from gearshift.runtime.types import FloatArray

BUILT_IN = {
    "op": "gearshift.runtime.decide.policies:OP",
    "op-ahead": "gearshift.runtime.decide.policies:OP_AHEAD",
    "aux-sm": "gearshift.runtime.decide.policies:AUX_SM",
    "aux-hlc": "gearshift.runtime.decide.policies:AUX_HLC",
    "random": "gearshift.runtime.decide.policies:RANDOM",
    "every": "gearshift.runtime.decide.policies:EVERY",
    "hold": "gearshift.runtime.decide.policies:HOLD",
    "always-small": "gearshift.runtime.decide.policies:ALWAYS_SMALL",
    "always-large": "gearshift.runtime.decide.policies:ALWAYS_LARGE",
    "anchor": "gearshift.runtime.decide.policies:ANCHOR",
}
POLICIES = PluginTable("policy", "gearshift.policies", BUILT_IN, extras={})

SimpleSignal = Callable[[SignalContext, Calibration], FloatArray]


def policy(
    *,
    probe: str = "none",
    name: str | None = None,
    summary: str | None = None,
    when_easy: str = "small",
    uses_history: bool = False,
    portable: bool = False,
    filter_name: str = "none",
) -> Callable[[SimpleSignal], Policy]:
    """Make a policy of a function (context, calibration) -> float32 (...,).

        @policy(probe="small", uses_history=True)
        def moved(context, calibration):
            return weighted_distance(context.probe, context.accepted, calibration)

    The function gets a `SignalContext` and the ensemble's `Calibration`, and gives one number per
    frame, larger for harder: above the threshold, large is asked; NaN counts as +inf. It is called
    with arrays whose leading axes broadcast, none in flight and (flights, thresholds) in a sweep,
    so it works along the last axis and has no `if` over values.

    probe: "none", "small" or "aux", what runs first. when_easy: "small", "large" or "hold", what
    answers below the threshold. uses_history: +inf on the first frame and after a gap. portable: it
    promises float32 in a fixed order, so that a board chooses alike. filter_name: "none", "anchor"
    or "smooth", over what is published. name defaults to the function's, summary to the first line
    of its docstring. Raises ConfigurationError for an unknown probe or action.
    """
    try:
        probe_value, action = Probe(probe), Action(when_easy)
    except ValueError as error:
        known = ", ".join([*Probe, *Action])
        raise ConfigurationError(f"{error}; there are {known}") from error

    def decorate(function: SimpleSignal) -> Policy:
        def factory(calibration: Calibration, _options: PolicyOptions) -> Signal:
            return lambda context: function(context, calibration)

        return Policy(
            name=name or function.__name__,
            summary=summary or (function.__doc__ or "").strip().split("\n")[0],
            probe=probe_value,
            signal=factory,
            when_easy=action,
            uses_history=uses_history,
            portable=portable,
            filter_name=filter_name,
        )

    return decorate


def policy_names() -> tuple[str, ...]:
    """Names of all built-in and plugged-in policies, built-in ones first."""
    return POLICIES.names()


def find_policy(name: str) -> Policy:
    """The policy of that name ("op", "anchor", a plug-in's), or of `FILE.py:ATTRIBUTE`.

    The file is run. Raises ConfigurationError, with the nearest names, when there is none.
    """
    path, separator, attribute = name.rpartition(":")
    if separator and path.endswith(".py"):
        return _check(_from_file(Path(path), attribute), name)
    return _check(POLICIES.load(name), name)


def _from_file(path: Path, attribute: str) -> object:
    if not path.is_file():
        raise ConfigurationError(f"no policy file {path}")
    # A name of its own for every file: two files called mine.py are two modules.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module_name = f"gearshift_policy_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Data classes and pickling look their module up while it is being executed.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ConfigurationError(f"{path} cannot be loaded: {named(error)}") from error
    if not hasattr(module, attribute):
        found = ", ".join(k for k, v in vars(module).items() if isinstance(v, Policy))
        raise ConfigurationError(
            f"{path} has no {attribute!r}; its policies are: {found or 'none'}"
        )
    return getattr(module, attribute)


def _check(value: object, name: str) -> Policy:
    if isinstance(value, Policy):
        return value
    raise ConfigurationError(
        f"{name!r} is no policy but {type(value).__name__}; decorate it with "
        "@gearshift.policy(...) or make a Policy"
    )
