"""The commands under one roof, and what becomes of their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chainrule.cli.demo import demo
from chainrule.cli.evaluation import evaluation
from chainrule.cli.pack import pack
from chainrule.cli.predicting import predict
from chainrule.cli.queries import (
    cancel,
    delete,
    download,
    jobs,
    models,
    pause,
    resume,
    system,
)
from chainrule.cli.shared import NOT_FOUND
from chainrule.cli.stack import keys, up
from chainrule.cli.training import train, watch
from chainrule.errors import (
    ApiError,
    ChainruleError,
    ClientError,
    ConfigError,
    LocatedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

_OUR_WORD = (ClientError, ConfigError, LocatedError)  # what was asked cannot be done as asked
FAILED, USAGE, AUTH, UNREACHABLE, INTERRUPTED = 1, 2, 4, 5, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="chainrule")
def app() -> None:
    """Train neural networks by backpropagation, over HTTP, on nothing but a CPU.

    `chainrule demo` shows it all on real data; `chainrule up` starts the service here. The other
    commands talk to the service at CHAINRULE_HOST and CHAINRULE_PORT (127.0.0.1:8000) or at --url,
    with CHAINRULE_API_KEY or the key that `chainrule up` left in its data directory.

    Exit codes: 0 ok, 1 the job failed, 2 usage, 3 not found, 4 key refused, 5 unreachable, 130
    interrupted.
    """


_ASKING = (
    jobs,
    models,
    watch,
    evaluation,
    pause,
    resume,
    cancel,
    delete,
    download,
    predict,
    keys,
    system,
)
for _command in (up, demo, pack, train, *_ASKING):
    app.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app.main(args=list(arguments), prog_name="chainrule", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except (ChainruleError, OSError) as error:
        click.echo(f"error: {_explain(error)}", err=True)
        return _exit_code(error)


def _exit_code(error: Exception) -> int:
    if isinstance(error, ApiError):
        refused = {401: AUTH, 403: AUTH, 404: NOT_FOUND, 409: FAILED, 429: FAILED}
        return refused.get(error.status, FAILED if error.status >= 500 else USAGE)
    if isinstance(error, UnreachableError):
        return UNREACHABLE
    return USAGE if isinstance(error, _OUR_WORD) else FAILED


def _explain(error: Exception) -> str:
    match error:
        case UnreachableError():
            return f"{error}\nstart a service here with `chainrule up`, or name one with --url"
        case ApiError(status=401):
            return (
                f"{error}\nset CHAINRULE_API_KEY, or CHAINRULE_DATA_DIR if `chainrule up` uses one"
            )
        case ApiError(problem={"errors": [*places]} as problem) if places:
            # The detail repeats the places on one line; a terminal has room for more lines.
            lines = [f"  {place.get('pointer')}: {place.get('detail')}" for place in places]
            return "\n".join([f"{error.status} {problem.get('title', '')}", *lines])
        case LocatedError(problems=problems) if len(problems) > 1:
            return "\n".join([f"{len(problems)} places", *(f"  {one}" for one in problems)])
        case _:
            return str(error)
