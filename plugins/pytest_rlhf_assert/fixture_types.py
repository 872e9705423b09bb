"""What each assertion fixture can be called with, for type checkers and for `help()`.

Annotate a test's argument with one of these: `def test_kl(assert_kl_anomaly_free: KLAssertion) -> None`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from rlhf_assert.checked import Check
    from rlhf_assert.verdict import Verdict


class KLAssertion(Protocol):
    """`assert_kl_anomaly_free`, on the test's run."""

    def __call__(
        self, *, limit: float | None = None, fail_on: str = "critical", allow_incomplete: bool = False
    ) -> Check:
        """See `rlhf_assert.assert_kl_anomaly_free`."""


class CheckpointsAssertion(Protocol):
    """`assert_checkpoints_healthy`, on the test's run."""

    def __call__(self, *, min_score: float = 0.8, allow_incomplete: bool = False) -> Check:
        """See `rlhf_assert.assert_checkpoints_healthy`."""


class RewardsAssertion(Protocol):
    """`assert_rewards_reliable`, on the test's run."""

    def __call__(self, *, allow: Sequence[str] = (), allow_incomplete: bool = False) -> Check:
        """See `rlhf_assert.assert_rewards_reliable`."""


class RunAssertion(Protocol):
    """`assert_run_healthy`, on the test's run."""

    def __call__(
        self,
        *,
        kl_limit: float | None = None,
        fail_on: str = "critical",
        min_score: float = 0.8,
        allow: Sequence[str] = (),
        required: Collection[str] | Literal["expected"] = (),
        **options: Any,
    ) -> Verdict:
        """See `rlhf_assert.assert_run_healthy`."""


class NamedAssertion(Protocol):
    """`assert_check`, on the test's run."""

    def __call__(
        self, name: str, *, fail_on: str = "critical", allow_incomplete: bool = False, **options: Any
    ) -> Check:
        """See `rlhf_assert.assert_check`."""


class AnyAssertion(Protocol):
    """`rlhf_assert_check`: any assertion of `rlhf_assert` on the test's run."""

    def __call__(self, assertion: Callable[..., Any], **options: Any) -> Any:
        """Call `assertion(run, **options)`, and enter what it judged in the test's report."""
