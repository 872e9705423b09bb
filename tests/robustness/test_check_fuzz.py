"""Whatever is in a file, `check` answers: an entry for it, an exit code with its reason, and no traceback."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_assert.cli import main
from rlhf_assert.cli.check_text import Style
from rlhf_assert.judging.answers import answer
from rlhf_assert.metrics import ALIASES

KEYS = st.sampled_from(
    [
        *{key for table in ALIASES.values() for key in table},
        "step",
        "global_step",
        "epoch",
        "train_runtime",
        "eval_loss",
    ]
) | st.text(max_size=12)
NUMBERS = st.floats() | st.integers(-(10**30), 10**30) | st.sampled_from([0, 1, -1, 2**63, 10**400, 5e-324, 1.7e308])
VALUES = st.recursive(
    NUMBERS
    | st.none()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["nan", "1e-3", "<absent>", "1_0", "inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=8), max_size=12)
SERIES = st.lists(st.sampled_from(sorted(ALIASES["trl"])), min_size=1, max_size=5, unique=True).flatmap(
    lambda keys: st.lists(st.fixed_dictionaries({key: NUMBERS | st.none() for key in keys}), min_size=1, max_size=60)
)


def as_jsonl(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_console(records):
    return "".join(f"INFO {record}\n" for record in records).encode(errors="replace")


def as_openrlhf(records):
    return "".join(f"Global step {index}: {record}\n" for index, record in enumerate(records)).encode(errors="replace")


def as_state(records):
    return json.dumps({"log_history": records}, indent=1).encode()


def as_csv(records):
    header = list(dict.fromkeys(key for record in records for key in record))
    lines = [",".join(header), *(",".join(str(record.get(key, "")) for key in header) for record in records)]
    return "\n".join(lines).encode(errors="replace")


@st.composite
def damaged(draw, contents):
    """A log that was cut, overwritten in places, or joined to something else."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 4))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    start, stop = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
    return draw(st.sampled_from([bytes(content), bytes(content[start:stop]), bytes(content[start:]) + bytes(content)]))


LOGS = st.one_of([st.builds(form, RECORDS | SERIES) for form in (as_jsonl, as_console, as_openrlhf, as_state, as_csv)])
FILES = st.binary(max_size=300) | LOGS | damaged(LOGS)


def answered(folder: Path, content: bytes) -> None:
    path = folder / "log"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (first, *phases) = answer(str(path), Style(100, ascii=False), alone=True)
    assert first.source == str(path)
    for one in (first, *phases):
        told = one.error or one.unjudged
        assert "defect" not in told, told
        assert "\n" not in told
        assert bool(told) != (one.verdict is not None)
        assert one.entry["error"] == one.error


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(content=FILES)
def test_any_file_has_its_answer(folder, content):
    answered(folder, content)


@pytest.mark.fuzz
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(content=FILES)
def test_ten_thousand_files_have_their_answers(folder, content):
    answered(folder, content)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(contents=st.lists(FILES, min_size=1, max_size=4), output=st.sampled_from(["text", "json", "github"]))
def test_the_command_never_ends_with_a_traceback(folder, contents, output):
    paths = [folder / f"log{index}" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    result = CliRunner().invoke(main, ["check", f"--format={output}", *map(os.fspath, paths)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert (result.stderr or result.output).splitlines()[-1].startswith(f"exit {result.exit_code}   (")
    if output == "json":
        sources = [run["source"].partition("#")[0] for run in json.loads(result.stdout)["runs"]]
        assert list(dict.fromkeys(sources)) == [str(path) for path in paths]
