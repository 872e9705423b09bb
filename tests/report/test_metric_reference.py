from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from rlhf_assert.metrics import ALIASES, METRICS
from rlhf_assert.recording.events import EVENTS
from rlhf_assert.report.event_reference import attributes, renewed
from rlhf_assert.report.fault_reference import faults_page
from rlhf_assert.report.metric_reference import metrics_page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_in_the_docs_is_the_one_that_the_code_writes():
    written = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert written == metrics_page(), "python -m rlhf_assert.report.metric_reference > docs/metrics.md"


def test_the_page_names_every_metric_and_key():
    page = metrics_page()
    for name in METRICS:
        assert f"| `{name}` |" in page
    for table in ALIASES.values():
        for key in table:
            assert f"| `{key}` |" in page


def test_the_page_of_faults_is_up_to_date() -> None:
    written = (DOCS / "faults.md").read_text(encoding="utf-8")
    assert written == faults_page(), "python -m rlhf_assert.report.fault_reference > docs/faults.md"


def test_the_table_of_events_is_up_to_date() -> None:
    written = (DOCS / "run-directory.md").read_text(encoding="utf-8")
    assert written == renewed(written), "python -m rlhf_assert.report.event_reference docs/run-directory.md"


def test_every_field_of_every_event_is_explained() -> None:
    for kind in EVENTS.values():
        own = {field.name for field in fields(kind)} - {"step", "time", "extra"}
        assert own <= set(attributes(kind)), kind
