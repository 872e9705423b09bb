"""What runs in OpenRLHF's processes: the driver, Ray's workers, vLLM. The rest of rlhf-assert runs beside them.

`sitecustomize` reaches every one of them, as PYTHONPATH and the environment do; what it installs waits for the imports
that it concerns, so Ray's own helper processes pay nothing. Only the standard library is imported before that.
"""
