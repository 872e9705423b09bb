"""What loading costs: the plugin and the package import nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "scipy", "torch", "transformers", "trl", "hypothesis", "ray", "psutil", "orjson", "click", "filelock")


@pytest.mark.parametrize(
    "module",
    [
        *("rlhf_assert", "rlhf_assert_trl", "rlhf_assert_openrlhf", "rlhf_assert_ray", "rlhf_assert_tiny"),
        "rlhf_scenarios",
        *("rlhf_assert_trl.backend", "rlhf_assert_openrlhf.backend"),
    ],
)
def test_importing_a_package_imports_no_framework(module: str) -> None:
    frameworks = ("numpy", "torch", "transformers", "trl", "hypothesis")
    code = f"import sys, {module}; print(*[name for name in {frameworks} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    allowed = {"numpy"} if module == "rlhf_assert_trl.backend" else set()
    assert set(printed.split()) <= allowed


def test_a_session_that_does_not_use_the_plugin_imports_nothing_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import sys

        def test_nothing_heavy_is_loaded():
            assert "pytest_rlhf_assert" in sys.modules
            assert not [name for name in {HEAVY!r} if name in sys.modules]
            assert not [name for name in sys.modules if name.startswith("rlhf_assert.")]
            assert "pytest_rlhf_assert.training" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:xdist")
    result.assert_outcomes(passed=1)
