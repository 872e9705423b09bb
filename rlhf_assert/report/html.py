"""A run as one HTML page: no script, no fonts, nothing fetched; the curves are inline SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rlhf_assert import __version__
from rlhf_assert.checked import Check, Status
from rlhf_assert.detect import Anomaly
from rlhf_assert.metrics import METRICS, label
from rlhf_assert.numbers import number, setting
from rlhf_assert.recording.encoding import decode_number
from rlhf_assert.recording.events import EpochStatistics, Unreadable, encode_event
from rlhf_assert.recording.run import Run, ordered
from rlhf_assert.recording.series import Series
from rlhf_assert.report.diagnosis import diagnose
from rlhf_assert.report.summary import facts
from rlhf_assert.report.svg import chart
from rlhf_assert.report.timing import phases
from rlhf_assert.report.wording import mark, verdict_word, warnings

STYLE = """
:root { --ink: #1c2330; --soft: #667085; --line: #e3e7ee; --paper: #fff; --panel: #f7f8fa;
        --curve: #2f5fd0; --bad: #c62828; --warn: #b26a00; --good: #1b7a43; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2e3542; --paper: #14181f; --panel: #1b212b;
          --curve: #86a8ff; --bad: #ff7b72; --warn: #f0b35a; --good: #63c98a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 24px 60px; color: var(--ink); background: var(--paper);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 12px; }
.facts, .soft, figcaption span { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; overflow-x: auto;
      font: 13px/1.35 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 10px 0; }
.mark { font-weight: 650; white-space: nowrap; }
.CRIT, .FAIL { color: var(--bad); } .warn, .WARN { color: var(--warn); }
.pass, .PASS { color: var(--good); } .skip, .few, .NONE { color: var(--soft); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 18px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px 6px; }
figcaption { display: flex; justify-content: space-between; gap: 12px; font-size: 14px; margin-bottom: 4px; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 10px system-ui, sans-serif; }
.axis { stroke: var(--line); } .curve { fill: none; stroke: var(--curve); stroke-width: 1.6; }
.dot { fill: var(--curve); } .gap { stroke: var(--bad); stroke-width: 1.2; opacity: .55; }
.onset { stroke-dasharray: 3 3; } .onset.critical { stroke: var(--bad); } .onset.warning { stroke: var(--warn); }
.found { font-size: 13px; line-height: 1.35; padding: 2px 0; }
.found.critical { color: var(--bad); } .found.warning { color: var(--warn); }
svg text.critical { fill: var(--bad); } svg text.warning { fill: var(--warn); }
details { margin: 8px 0; } summary { cursor: pointer; }
"""
RESOURCES = ("memory_rss", "memory_vms", "gpu_memory", "gpu_utilization", "cpu_utilization")
MOST_EVENTS = 400
EACH_STEP = ("step_begin", "pre_optimizer_step", "optimizer_step", "step_end", "log")
"""Events of every step: counted, not listed."""


def page(run: Run, checks: Sequence[Check]) -> str:
    """Return the page of one run.

    Args:
        run: the run.
        checks: what was judged of it, `judge(run).checks`.
    """
    anomalies = _distinct(anomaly for check in checks for anomaly in warnings(check))
    word = verdict_word(checks)
    sections = [
        ("Checks", _checks(run, checks)),
        ("Metrics", _metrics(run, anomalies)),
        ("Resources", _resources(run)),
        ("Epochs", _epochs(run)),
        ("Timing", _timing(run)),
        ("Events", _events(run)),
        ("Set-up", _setup(run)),
    ]
    title = escape(f"{run.title}: {word}")
    body = "".join(f"<h2>{name}</h2>\n{content}\n" for name, content in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n"
        f'<h1>{escape(run.title)} <span class="{word}">{word}</span></h1>\n'
        f'<div class="facts">{escape(facts(run))}; {escape(str(run.path))}; rlhf-assert {__version__}</div>\n'
        f"{body}</body></html>\n"
    )


def _checks(run: Run, checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        word = mark(check)
        told = check.headline
        if word == "warn":
            told = "; ".join(f"{label(anomaly.metric)} {anomaly.summary}" for anomaly in warnings(check))
        rows.append([f'<span class="mark {word}">{word}</span>', escape(check.name), escape(told)])
    diagnoses = "".join(
        f"<pre>{escape(diagnose(check, run))}</pre>\n" for check in checks if check.status is Status.FAIL
    )
    return _table(("", "check", ""), rows) + diagnoses


def _metrics(run: Run, anomalies: Sequence[Anomaly]) -> str:
    if not run.series:
        return '<p class="soft">The run logged no metric.</p>'
    shown = "".join(
        _figure(run[name], [anomaly for anomaly in anomalies if anomaly.metric == name]) for name in ordered(run.series)
    )
    others = f'<p class="soft">Keys that no table knows: {escape(", ".join(run.unmapped))}</p>' if run.unmapped else ""
    return f'<div class="grid">{shown}</div>{others}'


def _figure(series: Series, anomalies: Sequence[Anomaly], *, across: str = "step") -> str:
    metric = METRICS.get(series.name)
    unit = metric.unit if metric else ""
    scale = 1.0
    if unit == "bytes":
        scale, unit = 1e6, "MB"
    scaled = Series(series.name, series.steps, series.values / scale)
    ends = f"{number(scaled.first)} → {number(scaled.last)} {unit}".rstrip()
    boxes = "".join(f'<div class="found {one.severity.name}">{escape(one.summary)}</div>' for one in anomalies)
    return (
        f"<figure><figcaption><b>{escape(label(series.name))}</b><span>{escape(ends)}</span></figcaption>"
        f"{chart(scaled, [(one.onset, one.severity.name) for one in anomalies], across=across)}{boxes}</figure>\n"
    )


def _resources(run: Run) -> str:
    by_rank: dict[int, list[Mapping[str, Any]]] = {}
    for sample in run.resources:
        by_rank.setdefault(int(sample.get("rank") or 0), []).append(sample)
    figures = []
    for rank, samples in sorted(by_rank.items()):
        begun = float(samples[0].get("time") or 0.0)
        for name in RESOURCES:
            pairs = [
                (float(sample.get("time") or 0.0) - begun, value)
                for sample in samples
                if (value := decode_number(sample.get(name))) is not None
            ]
            if pairs:
                title = name if len(by_rank) == 1 else f"{name}, rank {rank}"
                figures.append(_resource_figure(title, name, pairs))
    if not figures:
        return '<p class="soft">No resource sample was recorded.</p>'
    reasons = dict.fromkeys(str(sample["gpu"]) for sample in run.resources if isinstance(sample.get("gpu"), str))
    note = f'<p class="soft">{escape("; ".join(reasons))}</p>' if reasons else ""
    return f'<div class="grid">{"".join(figures)}</div>{note}'


def _resource_figure(title: str, name: str, points: Sequence[tuple[float, float]]) -> str:
    import numpy as np  # noqa: PLC0415 - only where there are samples

    milliseconds = np.asarray([round(time * 1000) for time, _ in points], dtype=np.int64)
    series = Series(name, milliseconds, np.asarray([value for _, value in points], dtype=np.float64))
    return _figure(series, [], across="ms").replace(f"<b>{escape(label(name))}</b>", f"<b>{escape(title)}</b>", 1)


def _epochs(run: Run) -> str:
    rows = []
    for event in run.events_of(EpochStatistics):
        for name, its in event.metrics.items():
            cells = [_number(value) for value in (its.mean, its.std, its.min, its.max)]
            rows.append([str(event.epoch), escape(name), *cells, escape(its.trend or "")])
    if not rows:
        return '<p class="soft">No epoch was recorded to its end.</p>'
    return _table(("epoch", "metric", "mean", "std", "min", "max", "trend"), rows, numeric={2, 3, 4, 5})


def _timing(run: Run) -> str:
    rows = [[escape(name), escape(f"{number(taken)} s"), escape(told)] for name, taken, told in phases(run)]
    return _table(("phase", "time", ""), rows, numeric={1})


def _events(run: Run) -> str:
    begun = float(run.info.get("started") or 0.0)
    rows = []
    listed = [event for event in run.events if event.name not in EACH_STEP]
    counts = Counter(event.name for event in run.events if event.name in EACH_STEP)
    for event in listed[:MOST_EVENTS]:
        rest = {key: value for key, value in encode_event(event).items() if key not in ("event", "step", "time")}
        told = ", ".join(f"{key} {_brief(value)}" for key, value in rest.items())
        if isinstance(event, Unreadable):
            told = f"cannot be read: {event.field}: {event.reason}"
        at = "" if event.time is None else f"{event.time - begun:.2f} s"
        step = "" if event.step is None else str(event.step)
        rows.append([escape(at), escape(step), escape(event.name), escape(told)])
    unlisted = [f"{count} {name}" for name, count in counts.items()]
    if len(listed) > len(rows):
        unlisted.append(f"{len(listed) - len(rows)} others")
    note = f'<p class="soft">Not listed: {escape(", ".join(unlisted))}.</p>' if unlisted else ""
    table = _table(("time", "step", "event", ""), rows, numeric={0, 1})
    return f"<details><summary>{len(run.events)} events</summary>{table}{note}</details>"


def _setup(run: Run) -> str:
    shown = {"versions": run.info.get("versions") or {}, "device": run.info.get("device"), "config": run.config}
    rows = []
    for name, value in shown.items():
        text = value
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {setting(item)}" for key, item in value.items() if item is not None)
        if text:
            rows.append([name, escape(str(text))])
    return _table(("", ""), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: set[int] | None = None) -> str:
    kinds = [' class="n"' if index in (numeric or set()) else "" for index in range(len(header))]
    head = "".join(f"<th{kind}>{name}</th>" for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def _number(value: object) -> str:
    pairs = decode_number(value)
    return "" if pairs is None else number(pairs)


def _brief(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    text = str(value)
    return text if len(text) <= 160 else text[:159] + "…"


def _distinct(anomalies: Iterable[Anomaly]) -> list[Anomaly]:
    kept = {(anomaly.kind, anomaly.metric, anomaly.onset): anomaly for anomaly in anomalies}
    return sorted(kept.values(), key=lambda anomaly: (anomaly.onset, -anomaly.severity))
