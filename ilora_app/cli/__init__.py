"""The `ilora-app` command: one file per subcommand, one place where failures become exit codes.

Nothing heavy is imported here or at the top of a command's file, so that every `--help` is instant.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer

from core.errors import IloraError, Interrupted
from ilora_app import __version__
from ilora_app.cli import (
    analyze,
    audit,
    bench,
    data,
    distil,
    doctor,
    engine,
    evaluate,
    export,
    models,
    power,
    ranking_files,
    recommend,
    results,
    runs,
    serve,
    train,
    tui,
)
from ilora_app.cli.saying import prepare_streams, say
from ilora_app.cli.trials import with_number_of_trials

app = typer.Typer(
    name="ilora-app",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"ilora-app {__version__}")
        raise typer.Exit


@app.callback()
def _for_all_commands(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_say_version),
    ] = False,
) -> None:
    """Instance-wise LoRA for recommendation: benchmark it, train it, and watch its gate."""
    del version  # its callback has said it


app.command("analyze")(analyze.analyze)
app.command("audit")(audit.audit)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")
app.command("models")(models.models)
app.command("recommend")(recommend.recommend)
app.command("train")(train.train)
app.command("distil")(distil.distil)
app.command("doctor")(doctor.doctor)
app.add_typer(runs.app, name="runs")
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("tui")(tui.tui)
results.app.command("export")(ranking_files.export)
results.app.command("check")(ranking_files.check)
app.add_typer(results.app, name="results")
app.command("power")(power.power)
app.command("engine", hidden=True)(engine.engine)


# What typer raises for a wrong command line; its home has moved from click into typer over time.
_UsageError: type[Exception] = next(
    kind for kind in reversed(typer.BadParameter.__mro__) if hasattr(kind, "format_message")
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 bad input, 130 stopped by the user.

    A foreseeable failure is one `error:` line and one `hint:` line on stderr; a bug keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    prepare_streams()
    try:
        code = app(args=with_number_of_trials(arguments) or ["--help"], standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here, and not after the last line
    except IloraError as error:
        _complain(error.title, error.hint)
        code = error.exit_code
    except _UsageError as error:
        _complain(*_explained(error))
        code = 2
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        code = Interrupted.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        code = 141
    except OSError as error:
        code = _cannot_write(error)
    except Exception as error:
        from core.hardware import OUT_OF_MEMORY, is_out_of_memory  # psutil: not at every start

        if is_out_of_memory(error):
            _complain(*OUT_OF_MEMORY)
            sys.exit(2)
        if type(error).__name__ != "SafetensorError" or "os error" not in str(error):
            raise
        _complain(f"cannot write weights: {error}", "free some space; the same command goes on from here")
        code = 74
    if code == Interrupted.exit_code:  # raised above, or already turned into its code by typer
        say("stopped", err=True)
    sys.exit(code if isinstance(code, int) else 0)


NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)
"""How the system says of a path that nothing can lie there."""
UNWRITABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
)  # fmt: skip
"""How a disk or an output says that it takes no more; what is in neither list is a bug."""


def _cannot_write(error: OSError) -> int:
    """Tells of a path or a disk that cannot be used, and gives the exit code; any other error is a bug."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in NO_PLACE:
        words = str(error.strerror)
        _complain(f"{words}: {str(error.filename)[:200]}", "give another path")
        return 2
    if error.errno not in UNWRITABLE:
        raise error
    full = error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM)
    hint = "free some space, or choose another folder" if full else "choose a folder that you may use"
    _complain(f"cannot {'write' if full else 'use'}: {where}{error.strerror}", hint)
    if (
        error.errno == errno.ENOSPC and not error.filename
    ):  # the output itself: do not try once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 74


def _explained(error: Any) -> tuple[str, str]:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ilora-app"
    return error.format_message(), f"{command} --help lists what is accepted"


_LONGEST = 1000
"""Characters of an error or a hint; what people give and files hold is repeated in them."""


def _complain(title: str, hint: str) -> None:
    say(f"error: {_one_line(title)}", err=True)
    if hint:
        say(f"hint: {_one_line(hint)}", err=True)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
