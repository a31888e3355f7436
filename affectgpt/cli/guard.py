"""What every command does with an error: one line on stderr and the right exit code, never a traceback unasked."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from affectgpt.cli.plain import plain
from affectgpt.errors import AffectError

__all__ = ["DEBUG", "EXIT_BROKEN_PIPE", "EXIT_BUG", "EXIT_INTERRUPTED", "GuardedGroup"]

DEBUG = "affectgpt.debug"
"""Key in a context's `meta`: whether `--debug` was given."""

EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


class GuardedGroup(TyperGroup):
    """Commands whose errors end as one line: exit 2 the user's mistake, 1 a failure, 70 a fault of this program."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises typer.Exit with the code where it failed."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that hung up shows itself here, not in the interpreter's last breath
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except KeyboardInterrupt:
            typer.echo("affectgpt: interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # the outermost boundary: nothing may reach the user as a traceback
            if hasattr(error, "show"):  # the parser's own usage errors, which typer prints
                raise
            raise typer.Exit(_tell(ctx, error)) from None
        return result


def _tell(ctx: Any, error: Exception) -> int:
    """Print the error's line; its exit code."""
    if ctx.meta.get(DEBUG):
        traceback.print_exc()
    if isinstance(error, AffectError):
        line, code = str(error), error.exit_code
    elif isinstance(error, OSError | MemoryError):
        line, code = f"{type(error).__name__}: {error}", 1
    else:
        line, code = f"a fault of this program, {type(error).__name__}: {error}; --debug shows where", EXIT_BUG
    typer.echo(f"affectgpt: {plain(line)}", err=True)
    return code


def _close_stdout() -> None:
    """Point stdout at nothing, so that closing it at exit raises no second BrokenPipeError."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
