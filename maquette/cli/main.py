"""The command `maquette`: parse, call a verb, show. Whatever goes wrong ends here, in a few lines and an exit code.

0 done · 1 a fault of ours · 2 usage · 3 data · 4 busy · 5 storage · 6 numbers · 7 incompatible · 8 refused · 130 Ctrl-C
"""

import io
import os
import sys
from collections.abc import Sequence

from maquette.cli.parser import parse
from maquette.core.errors import MaquetteError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Data go to stdout, everything else to stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        asked = parse(words)
        from maquette.cli import commands

        exit_code = commands.COMMANDS[asked.verb](asked)
        sys.stdout.flush()
        return exit_code or 0
    except MaquetteError as mistake:
        _show(mistake, debug)
        return mistake.exit_code
    except BrokenPipeError:  # the reader of our stdout has gone, as `| head` does
        sys.stdout = io.StringIO()  # so that the interpreter does not try to flush into nowhere
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as fault:  # ours: a short message, and the traceback in a file
        if debug:
            raise
        _show(_reported(fault), debug)
        return 1


def _show(mistake: MaquetteError, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(mistake)
    print(mistake.render(), file=sys.stderr)


def _reported(fault: Exception) -> MaquetteError:
    """MQ-1001 naming a file that holds the traceback."""
    import platform
    import tempfile
    import traceback
    from pathlib import Path

    from maquette import __version__
    from maquette.core import files

    path = Path(tempfile.gettempdir()) / f"maquette-fault-{os.getpid()}.txt"
    about = f"maquette {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n"
    try:
        files.write_file(path, (about + "".join(traceback.format_exception(fault))).encode())
    except MaquetteError as full:
        return full
    return MaquetteError("MQ-1001", kind=type(fault).__name__, reason=str(fault) or "no message", report=path)
