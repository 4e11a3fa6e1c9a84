"""A program at a terminal: the reader's language, an encoding that cannot fail, usage errors, exit codes.

Both programs start here. Knows neither speech nor files.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import typer
from typer.exceptions import TyperException

from server.terminal.exit_codes import ExitCode
from server.terminal.messages import reader_language, system_language, t, use_language
from server.terminal.troubleshooting import with_entry


def prepare(argv: list[str]) -> None:
    """Call this before anything is printed: it sets the reader's language, and streams that no character can stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A cp949 console cannot show every character of a script; a '?' is better than a traceback.
            stream.reconfigure(errors="replace")
    use_language(reader_language(argv, os.environ, system_language()))


def say(sentence: str) -> None:
    print(sentence, flush=True)


def complain(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def run(build: Callable[[], typer.Typer], program: str, known: tuple[type[Exception], ...]) -> int:
    """Runs the program on sys.argv and returns its exit code.

    known: exceptions whose text is a whole sentence for the reader; any other exception is an error in this program.
    `--debug` anywhere shows the traceback of both kinds.
    """
    argv = sys.argv[1:]
    prepare(argv)
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    try:
        command: Any = typer.main.get_command(build())
        _translate_help(command)
        result = command.main(args=argv, prog_name=program, standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except TyperException as error:
        if not argv or _is_help(error):
            say(str(error))
            return ExitCode.USAGE
        complain(usage_sentence(error, program))
        return ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):
        complain(t("Stopped."))
        return ExitCode.INTERRUPTED
    except known as error:
        if debug:
            traceback.print_exc()
        complain(with_entry(error))
        return int(getattr(error, "exit_code", ExitCode.ERROR))
    except BrokenPipeError:  # the program that reads our output (head, less) has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    except Exception as error:  # an error in this program: one line, and the traceback only with --debug
        if debug:
            traceback.print_exc()
        complain(
            t(
                "The program met a fault of its own: {kind}: {error}. Run the same command with --debug and report "
                "what it prints.",
                kind=type(error).__name__,
                error=error,
            )
        )
        return ExitCode.ERROR


def _is_help(error: TyperException) -> bool:
    return type(error).__name__ == "NoArgsIsHelpError"


def usage_sentence(error: TyperException, program: str) -> str:
    """What is wrong with the command line; typer's own sentences are English only."""
    kind = type(error).__name__
    context = getattr(error, "ctx", None)
    where = context.command_path if context else program
    if kind == "NoSuchOption":
        option = getattr(error, "option_name", "?")
        near = getattr(error, "possibilities", None) or []
        sentence = t("{command} has no option {option}.", command=where, option=option)
        if near:
            sentence += " " + t("Did you mean {name}?", name=", ".join(near))
    elif kind == "MissingParameter":
        sentence = t("{command} needs {parameter}.", command=where, parameter=_parameter_name(error))
    elif kind == "BadParameter":
        # The reason is typer's and English only; the help shows what may stand there.
        sentence = t("The value of {parameter} cannot be used.", parameter=_parameter_name(error))
    else:
        sentence = t("The command line is not understood: {reason}", reason=str(error))
    return sentence + "\n" + t("'{command} --help' shows what there is.", command=where)


def _parameter_name(error: TyperException) -> str:
    parameter = getattr(error, "param", None)
    if parameter is None:
        return "?"
    options = [name for name in parameter.opts if name.startswith("-")]
    return "/".join(options) if options else str(parameter.metavar or parameter.name).upper()


def _translate_help(command: Any) -> None:
    """typer has its --help option's help and the word "Usage" in English only, so they are put right afterwards."""
    # A command makes its help option once, by the names of the first context that asks: here, and without a parent.
    names = command.context_settings.get("help_option_names", ["--help"])
    for each in (command, *getattr(command, "commands", {}).values()):
        context = typer.Context(each, help_option_names=names)
        option = each.get_help_option(context)
        if option is not None:
            option.help = t("Show this help and end.")
        each.format_usage = partial(_format_usage, each)


def _format_usage(command: Any, context: Any, formatter: Any) -> None:
    pieces = " ".join(command.collect_usage_pieces(context))
    formatter.write_usage(context.command_path, pieces, prefix=t("Usage:") + " ")
