"""The reference page of the faults, written from the table that the code uses.

python -m rlhf_assert.report.fault_reference > docs/faults.md
"""

from __future__ import annotations

import sys

from rlhf_assert.checks.registry import found_by
from rlhf_assert.training.backend import backends
from rlhf_assert.training.fault_kinds import FAULTS, FaultKind
from rlhf_assert.training.train import injectable

_BEFORE = """# Faults: break your training on purpose

<!-- Written by `python -m rlhf_assert.report.fault_reference`; a test compares it with the table in the code. -->

A check that never failed is a hope. A fault breaks one thing in a real training, at a step of your choice, and you see
whether your checks find it:

```
pytest --rlhf-scenario=trl-grpo --rlhf-fault=reward_nan@10
pytest tests/test_mine.py --rlhf-fault=learning_rate_spike@8x1000 --rlhf-fault=reference_noised
```

The form is `NAME[@ONSET][xMAGNITUDE]`. Each fault is a training of its own, recorded beside the healthy one, and its
tests are meant to fail. In your own file, with your own trainer:

```python
import pytest
from rlhf_assert import RewardUnreliable, scenario


@scenario
def my_grpo(ctx): ...  # returns your trainer


@pytest.mark.rlhf_scenario(my_grpo)
@pytest.mark.rlhf_fault("reward_nan", onset=10, magnitude=2)
def test_a_nan_reward_is_caught(assert_rewards_reliable):
    with pytest.raises(RewardUnreliable, match="at step 10"):
        assert_rewards_reliable()
```

The trainer's source is not touched. With TRL a fault is made of hooks and wrapped methods of that one trainer, which
are taken away again; with OpenRLHF, of functions that are replaced in that one training's processes. What it draws at
random comes from a generator of its own, and before its onset it changes nothing: with TRL the run is bit-identical to
the healthy one up to there. A fault that does not apply (a value head in GRPO, a reference with `beta=0`, a backend
that cannot inject it) is an error before the training begins, and says why. `run.json`, the summary and the command
that repeats a failure name the fault.

*Abrupt* faults are there in full from their onset on; *gradual* ones show as they add up, or as learning that does not
come. *Unseen in logs* means that the logged metrics of at least one trainer stay as they are: samples, weights,
checkpoints or events show it.
"""


def faults_page() -> str:
    """Return `docs/faults.md`: how to break a training, and every fault."""
    lines = [
        _BEFORE,
        "| fault | what is wrong | default | breaks | with | found by | |",
        "|---|---|---|---|---|---|---|",
    ]
    able = {backend.name: injectable(backend) for backend in backends().values()}
    every = frozenset().union(*(known.algorithms for known in FAULTS.values()))
    for name, known in FAULTS.items():
        cells = (
            f"`{name}`",
            known.summary.format("*m*"),
            _default(known),
            ", ".join(sorted(known.algorithms)) if known.algorithms != every else "all",
            ", ".join(sorted(backend for backend, kinds in able.items() if name in kinds)),
            ", ".join(found_by(name)),
            "; ".join((*([] if known.abrupt else ["gradual"]), *([] if known.in_logs else ["unseen in logs"]))),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _default(known: FaultKind) -> str:
    onset = f"from step {known.onset}" if known.onset > 1 else "from the start"
    return f"{onset}; *m* = {known.magnitude:g} ({known.unit})" if known.unit else onset


if __name__ == "__main__":
    sys.stdout.write(faults_page())
