"""The canonical table and its aliases."""

from __future__ import annotations

import pytest

from rlhf_assert.metrics import ALIASES, DERIVED, METRICS, canonical_name, key_priority, label


def test_every_alias_and_every_ratio_names_a_canonical_metric() -> None:
    assert {name for table in ALIASES.values() for name in table.values()} <= set(METRICS)
    assert set(DERIVED) <= set(METRICS)
    assert {part for parts in DERIVED.values() for part in parts} <= set(METRICS)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("completions/clipped_ratio", "truncated_fraction"),  # truncation, never clipping
        ("policy/approxkl_avg", "approx_kl"),  # to the old policy, never to the reference
        ("objective/kl", "kl_div"),
        ("kl_div", "kl_div"),
        ("los", None),
    ],
)
def test_a_key_means_what_its_framework_means(key: str, name: str | None) -> None:
    assert canonical_name(key) == name


def test_a_canonical_key_wins_over_every_alias() -> None:
    assert key_priority("kl_div") < min(key_priority(key) for key in ALIASES["trl"] if key not in METRICS)


def test_an_unknown_name_is_its_own_label() -> None:
    assert label("kl_div") == "kl"
    assert label("rewards/mine") == "rewards/mine"
