"""A policy of one's own on the shipped flights, from the first line to a picture.

    python docs/examples/own_policy.py [PICTURE.png]

Three lines of policy are swept over every flight and every threshold, without running a network;
the threshold is chosen on `val` for a budget of time and judged on rooms and people never seen
before, beside the policies that ship and the controls that one has to beat.
Needs matplotlib, which comes with the extra `replay`.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gearshift

ENSEMBLE, DEVICE, RESAMPLES = "D2", "gap8", 200


@gearshift.policy(probe="small", uses_history=True, filter_name="anchor")
def drift(context, calibration):
    """Small's movement since both networks ran, trusted less the longer that is ago."""
    moved = gearshift.weighted_distance(context.probe, context.small_at_large, calibration)
    return moved * np.sqrt(context.frames_since_large)


ROWS = {  # what it is called here: the policy, and the filter where it is not the policy's own
    "drift": (drift, None),
    "drift, unfiltered": (drift, "none"),
    "anchor (ours)": ("anchor", None),
    "op (paper)": ("op", None),
    "random (control)": ("random", None),
    "hold (control)": ("hold", None),
}


def swept(split, policy, filter_name=None, thresholds=None):
    """Columns by name, a row per threshold; latencies are those modelled on DEVICE."""
    evaluation = gearshift.sweep(
        split, policy, ENSEMBLE, thresholds, filter_name=filter_name, resamples=RESAMPLES
    )
    return evaluation.columns(DEVICE)


def main(picture):
    """Sweep, choose, print, draw."""
    alone = {name: swept("unseen", f"always-{name}") for name in ("small", "large")}
    budget_ms = np.mean([at["latency_ms"][0] for at in alone.values()])
    print(f"{ENSEMBLE} on unseen rooms and people; thresholds: the least error on val in")
    print(f"{budget_ms:.1f} ms a frame, halfway between the two networks ({DEVICE}, modelled)\n")
    print(f"{'policy':18} {'threshold':>9} {'error (m, rad), 95 %':>22} {'ms':>6} {'on large':>9}")
    for name, (policy, filter_name) in ROWS.items():
        val = swept("val", policy, filter_name)
        affordable = np.where(val["latency_ms"] <= budget_ms, val["error"], np.inf)
        threshold = val["threshold"][affordable.argmin()]
        say(name, f"{threshold:.3f}", swept("unseen", policy, filter_name, [threshold]))
    for name, at in alone.items():
        say(f"always-{name}", "", at)
    curves = {name: swept("unseen", *row) for name, row in ROWS.items()}
    draw(curves, alone, budget_ms).savefig(picture)
    print(f"\nwrote {picture}")


def say(name, threshold, at):
    """One line of the table."""
    error, low, high = (at[column][0] for column in ("error", "error_low", "error_high"))
    print(
        f"{name:18} {threshold:>9} {error:8.3f} ({low:.3f}-{high:.3f}) "
        f"{at['latency_ms'][0]:6.1f} {at['share_large'][0]:9.0%}"
    )


def draw(curves, alone, budget_ms):
    """Error against latency: a curve per policy, a star per network."""
    figure = Figure(figsize=(7.2, 4.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        order = np.argsort(curve["latency_ms"])
        latency = curve["latency_ms"][order]
        own = name == "drift"
        style = "--" if "control" in name else "-"
        (line,) = axes.plot(
            latency, curve["error"][order], style, label=name, linewidth=2.4 if own else 1.4
        )
        if own:
            low, high = curve["error_low"][order], curve["error_high"][order]
            axes.fill_between(latency, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
    for name, at in alone.items():
        axes.plot(at["latency_ms"], at["error"], "k*", markersize=11)
        axes.annotate(
            f"always-{name}",
            (at["latency_ms"][0], at["error"][0]),
            xytext=(9, 6),
            textcoords="offset points",
        )
    axes.axvline(budget_ms, color="0.7", linewidth=1, zorder=0)
    axes.set_xlim(0.9 * alone["small"]["latency_ms"][0], 1.35 * alone["large"]["latency_ms"][0])
    axes.set_ylim(0.45, 1.05)
    axes.set_xlabel(f"mean latency per frame, modelled on {DEVICE} (ms)")
    axes.set_ylabel("mean absolute error, summed (m, rad)")
    axes.set_title(f"{ENSEMBLE} on unseen rooms and people; band: 95 %", loc="left", fontsize=10)
    axes.grid(visible=True, color="0.92")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, ncols=2, fontsize=9)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "own_policy.png"))
