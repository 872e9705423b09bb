"""The README's own test, run as it stands: it fails, and says what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.training
def test_the_readmes_test_fails_as_the_readme_shows(pytester: pytest.Pytester) -> None:
    (code,) = re.findall(r"^```python\n(import pytest\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(test_rl=code)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "test_rl.py")
    assert result.ret == 1
    (headline,) = re.findall(r"^E +(RunUnhealthy: .*)$", README, re.MULTILINE)
    assert headline.partition(" r 0")[0] in result.stdout.str()
    assert "cause       likely: rewards[0] my_reward" in result.stdout.str()


def test_every_page_that_the_readme_names_exists() -> None:
    for page in re.findall(r"\]\(([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / page).is_file(), page
