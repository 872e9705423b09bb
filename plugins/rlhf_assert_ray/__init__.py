"""rlhf-assert on a Ray cluster: the trainings of a session are spread over its nodes.

`cluster` stands in for the library's runner; it speaks with `bridge`, a process of the interpreter that has Ray, which
makes each training a Ray task; a task runs `node` with the interpreter that has the trainer, and passes on what it
says.
"""
