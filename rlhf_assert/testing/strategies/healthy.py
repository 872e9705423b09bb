"""What is healthy: single metrics, and whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series
from rlhf_assert.testing.synthetic import Algorithm, Curve, Log, Training, column
from rlhf_assert.testing.synthetic.healthy_training import ALGORITHMS

Ornament = Literal[
    "trend", "autocorrelation", "heavy-tails", "skew", "discrete", "bounds", "counts", "rounding", "gaps", "stride"
]
ORNAMENTS: tuple[Ornament, ...] = (
    "trend",
    "autocorrelation",
    "heavy-tails",
    "skew",
    "discrete",
    "bounds",
    "counts",
    "rounding",
    "gaps",
    "stride",
)
"""What may make a healthy curve harder than independent normal noise around a level."""

Range = tuple[float, float]


def seeds(least: int = 1) -> SearchStrategy[int]:
    """Seeds of noise; 0, if it is allowed, is silence."""
    return st.integers(least, 2**32 - 1)


@st.composite
def curves(
    draw: DrawFn,
    metric: str = "reward",
    *,
    min_rows: int = 1,
    max_rows: int = 200,
    ornaments: Sequence[Ornament] = ORNAMENTS,
    noisy: bool = False,
) -> Curve:
    """Descriptions of healthy metrics; `.series()` of each is the metric.

    Args:
        draw: given by hypothesis.
        metric: name of the metric.
        min_rows: fewest rows.
        max_rows: most rows.
        ornaments: what a curve may have, up to two at a time; `()` leaves level, spread and normal noise.
        noisy: whether there always is noise. Else failing examples shrink to silence.
    """
    rows = draw(st.integers(min_rows, max_rows))  # what is drawn first is what shrinks first
    seed = draw(seeds(1 if noisy else 0))
    chosen = draw(st.lists(st.sampled_from(ornaments), max_size=2, unique=True)) if ornaments else []
    spread = draw(st.sampled_from((1.0, 0.1, 0.01, 10.0)))
    level = draw(st.floats(-100.0, 100.0, allow_subnormal=False))
    curve = Curve(metric=metric, rows=rows, seed=seed, spread=spread, level=level)
    for ornament in chosen:
        curve = _ornamented(draw, curve, ornament)
    return curve


def _ornamented(draw: DrawFn, curve: Curve, ornament: Ornament) -> Curve:  # noqa: C901, PLR0911 - one return each
    match ornament:
        case "trend":
            return replace(curve, trend=draw(st.floats(-6.0, 6.0)))
        case "autocorrelation":
            return replace(curve, autocorrelation=draw(st.floats(0.0, 0.9)))
        case "heavy-tails":
            return replace(curve, noise="heavy")
        case "skew":
            return replace(curve, noise="skewed")
        case "discrete":
            return replace(curve, noise="discrete")
        case "bounds":
            room = draw(st.floats(1.0, 4.0)) * curve.spread
            return replace(curve, low=curve.level - room, high=curve.level + room)
        case "counts":
            mean = draw(st.floats(1.0, 50.0))
            return replace(curve, level=mean, spread=mean**0.5, low=0.0, high=inf, quantum=1.0)
        case "rounding":
            return replace(curve, quantum=curve.spread * draw(st.sampled_from((0.1, 0.5, 1.0))))
        case "gaps":
            return replace(curve, missing=draw(st.floats(0.0, 0.8)))
        case "stride":
            return replace(curve, every=draw(st.integers(1, 100)))


def series(
    metric: str = "reward",
    *,
    min_rows: int = 1,
    max_rows: int = 200,
    ornaments: Sequence[Ornament] = ORNAMENTS,
    noisy: bool = False,
) -> SearchStrategy[Series]:
    """Healthy metrics; see `curves` for the arguments. A row that "gaps" leave without a value is not in the series."""
    drawn = curves(metric, min_rows=min_rows, max_rows=max_rows, ornaments=ornaments, noisy=noisy)
    return drawn.map(lambda curve: curve.series())


@st.composite
def trainings(
    draw: DrawFn, *algorithms: Algorithm, min_rows: int = 1, max_rows: int = 200, noise: Range = (0.5, 1.5)
) -> Training:
    """Descriptions of healthy runs; `.log()` of each is its rows.

    Args:
        draw: given by hypothesis.
        algorithms: `grpo`, `ppo`, `dpo` or `sft`; all of them by default.
        min_rows: fewest rows.
        max_rows: most rows.
        noise: least and greatest multiple of the usual noise.
    """
    return Training(
        algorithm=draw(st.sampled_from(algorithms or ALGORITHMS)),
        rows=draw(st.integers(min_rows, max_rows)),
        gain=draw(st.floats(0.25, 1.0)),
        noise=draw(st.floats(*noise)),
        seed=draw(seeds()),
    )


def logs(*algorithms: Algorithm, min_rows: int = 1, max_rows: int = 200) -> SearchStrategy[Log]:
    """Rows of healthy runs, whose metrics move together; see `trainings` for the arguments."""
    return trainings(*algorithms, min_rows=min_rows, max_rows=max_rows).map(lambda training: training.log())


def runs(*algorithms: Algorithm, min_rows: int = 1, max_rows: int = 200) -> SearchStrategy[Run]:
    """Healthy runs in memory, completed, without samples or checkpoints; see `trainings` for the arguments."""
    return trainings(*algorithms, min_rows=min_rows, max_rows=max_rows).map(_run)


def _run(training: Training) -> Run:
    rows = training.log()
    columns = {metric: column(rows, metric) for metric in rows[0].metrics}
    info = {"status": "completed", "algorithm": training.algorithm, "seed": training.seed, "started": 0.0}
    return Run(
        path=Path(f"synthetic-{training.algorithm}"),
        info={**info, "finished": float(len(rows)), "config": {"beta": 0.04}, "scenario": "synthetic"},
        rows=rows,
        series=columns,
        original=columns,
        unmapped=(),
        events=(),
    )
