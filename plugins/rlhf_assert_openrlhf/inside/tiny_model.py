"""Prints the folder of the tiny model, built if need be: run by OpenRLHF's interpreter, whose versions decide on it."""

from __future__ import annotations

from rlhf_assert_tiny.tiny import warm_start

if __name__ == "__main__":
    print(warm_start("qwen2-wide-heads"))
