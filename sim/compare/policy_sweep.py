"""One policy over one trace at every threshold: from names to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.ensembles.loading import read_record
from gearshift.runtime.scoring.bootstrap import resample_weights
from gearshift.sim.compare.evaluation import Evaluation, evaluate
from gearshift.sim.compare.systems import check_hashes, policy_system
from gearshift.sim.traces.trace import Trace, read_trace
from gearshift.sim.traces.trace_sweep import threshold_grid


def sweep(
    trace: Trace | str | Path,
    policy: Policy | str,
    ensemble: Ensemble | EnsembleRecord | str | Path,
    thresholds: Sequence[float] | NDArray[np.floating] | None = None,
    *,
    count: int = 60,
    filter_name: str | None = None,
    options: PolicyOptions | None = None,
    resamples: int = 0,
) -> Evaluation:
    """Fly every flight of a trace with a policy at many thresholds, without running a network.

        swept = sweep("known", "op", "D1", resamples=200)
        swept.thresholds, swept.error[0], swept.share_large[0]      # (K,) each
        swept.to_pandas("gap8")                                     # a row per threshold

    The rules are those of a flight, to the bit. trace: one that was read, a file, or one that ships
    ("val", "known", "unseen"). policy: its name, `FILE.py:NAME`, or one made with `@policy`; the
    oracle works here. ensemble: of the zoo by name, a TOML file, or a loaded one. thresholds: (K,),
    default about `count` that spread the runs of large evenly from always to never. filter_name:
    "none", "anchor" or "smooth", default the policy's own. resamples: of the flights, grouped by
    room and person, for 95 % intervals; 0: none.

    Raises TraceError when the trace was not made with the ensemble's networks, ConfigurationError
    for what does not exist or does not fit together.
    """
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    if isinstance(ensemble, Ensemble):
        record = ensemble.record
    else:
        record = ensemble if isinstance(ensemble, EnsembleRecord) else read_record(ensemble)
    data = trace if isinstance(trace, Trace) else read_trace(trace)
    check_hashes([record], data)
    system = policy_system(record, chosen, filter_name=filter_name)
    if thresholds is None:
        thresholds = threshold_grid(
            data,
            system.members,
            chosen,
            system.calibration,
            count=count,
            filter_name=system.filter_name,
            options=options,
        )
    weights = resample_weights(data.groups, resamples)
    at = np.asarray(thresholds, dtype=np.float32)
    return evaluate(system, data, at, weights, options=options)
