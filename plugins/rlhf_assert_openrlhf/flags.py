"""The flags of OpenRLHF's commands: what there is, by OpenRLHF's own parser, and what a scenario gives."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from rlhf_assert.errors import MissingDependency, UsageError, suggest


class _Parser(argparse.ArgumentParser):
    """Raises what `argparse` would print before it ends the process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, add_help=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser_of(package: Path, entry_point: str) -> argparse.ArgumentParser:
    """Return the parser of an OpenRLHF command, built by its own code, without importing OpenRLHF.

    A command builds its parser under `if __name__ == "__main__"`; the statements there up to `parse_args()` are run,
    and of the imports above only those of the standard library.

    Args:
        package: the folder of the package `openrlhf`.
        entry_point: the command's module in `openrlhf.cli`, for example `train_ppo_ray`.

    Raises:
        UsageError: OpenRLHF has no such command.
        MissingDependency: the command is written in another way than that of openrlhf 0.11.2.
    """
    file = package / "cli" / f"{entry_point}.py"
    if not file.is_file():
        known = sorted(path.stem for path in (package / "cli").glob("train_*.py"))
        raise UsageError(
            f"openrlhf has no command {entry_point}{suggest(entry_point, known)}; known: {', '.join(known)}"
        )
    module = ast.parse(file.read_text(encoding="utf-8"))
    imports = [statement for statement in module.body if _of_standard_library(statement)]
    statements: list[ast.stmt] = []
    for statement in _main_block(module):
        if "parse_args" in ast.unparse(statement):
            break
        statements.append(statement)
    names: dict[str, Any] = {}
    try:
        exec(compile(ast.Module(imports, []), str(file), "exec"), names)  # noqa: S102 - an installed package's code
        names["argparse"] = argparse.Namespace(**{**vars(argparse), "ArgumentParser": _Parser})
        exec(compile(ast.Module(statements, []), str(file), "exec"), names)  # noqa: S102
    except (ImportError, NameError) as error:
        raise MissingDependency(f"{file}: its flags cannot be read ({error}): install openrlhf 0.11.2") from error
    parser = names.get("parser")
    if not isinstance(parser, _Parser):
        raise MissingDependency(f"{file}: builds no argparse parser: install openrlhf 0.11.2")
    return parser


def _main_block(module: ast.Module) -> list[ast.stmt]:
    for statement in module.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            return statement.body
    return []


def _of_standard_library(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import(names=names):
            return all(name.name.partition(".")[0] in sys.stdlib_module_names for name in names)
        case ast.ImportFrom(module=str(name), level=0):
            return name.partition(".")[0] in sys.stdlib_module_names
    return False


def arguments(flags: Mapping[str, Any]) -> list[str]:
    """Return flags as words of a command line.

    True is the flag alone, False and None are no flag, a list or tuple is a flag with several values.

    >>> arguments({"vllm.enforce_eager": True, "train.seed": 3, "data.input_template": None})
    ['--vllm.enforce_eager', '--train.seed', '3']
    """
    words: list[str] = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        words.append(f"--{name}")
        if value is not True:
            words += [str(item) for item in (value if isinstance(value, list | tuple) else [value])]
    return words


def check(flags: Mapping[str, Any], parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Check flags with the command's own parser, and return all its settings, defaults included.

    Raises:
        UsageError: an unknown flag, or a value that the command would refuse.
    """
    known = [option.removeprefix("--") for action in parser._actions for option in action.option_strings]  # noqa: SLF001
    for name in flags:
        if name not in known:
            raise UsageError(f"openrlhf has no flag {name}{suggest(name, known)}")
    return vars(parser.parse_args(arguments(flags)))
