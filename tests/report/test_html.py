from __future__ import annotations

from html.parser import HTMLParser

import pytest

from rlhf_assert.report.html import page
from rlhf_assert.verdict import judge

VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Fails on a tag that is not closed in order, and collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "script" not in parser.tags
    return parser


def test_a_sound_run(make_run, rows):
    events = [
        ("train_begin", 0, {}),
        ("epoch_statistics", 40, {"epoch": 0, "metrics": {"kl_div": {"mean": 0.1, "trend": "increasing"}}}),
        ("train_end", 40, {}),
    ]
    usage = [{"time": 100.0 + at, "memory_rss": 4.8e8, "cpu_utilization": None} for at in range(3)]
    run = make_run(rows, events=events, resources=usage, versions={"trl": "1.12.0"})
    text = page(run, judge(run).checks)
    parsed(text)
    assert text.count("<polyline") == len(run.series) + 1
    for told in ("480 → 480 MB", "increasing", "trl 1.12.0", "before training", "3 events"):
        assert told in text


def test_a_sick_run_marks_the_onset_and_the_gaps(make_run, rows):
    rows[19]["kl"] = float("nan")
    rows[20]["kl"] = None
    run = make_run(rows)
    text = page(run, judge(run).checks)
    parsed(text)
    assert text.count('class="gap"') == 3  # two of kl, and the ratio that is derived from the NaN
    assert ">^20</text>" in text
    assert "2 of 40 not finite" in text
    assert '<span class="FAIL">FAIL</span>' in text


@pytest.mark.parametrize("rows", [[], [{"kl": 0.0}], [{"kl": float("inf")}], [{"kl": 1e308}, {"kl": -1e308}]])
def test_a_page_of_next_to_nothing(make_run, rows):
    run = make_run(rows)
    parsed(page(run, judge(run).checks))


def test_what_a_run_holds_is_text_and_never_markup(make_run):
    evil = "<script>alert(1)</script>"
    run = make_run(
        [{"kl": 0.0, evil: 1.0}], scenario=evil, config={"name": evil}, events=[(evil, 1, {"x": evil})], device=evil
    )
    text = page(run, judge(run).checks)
    parsed(text)
    assert evil not in text
    assert text.count("&lt;script&gt;") >= 5
