"""The command line: finds the verb and hands it the rest."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]

# Verb: the module that has its function `main(arguments) -> exit code`, and what it does.
VERBS = {
    "run": ("holdfast.cli.run", "run a Python program with holdfast behind its multiprocessing"),
    "bench": ("holdfast.cli.bench", "measure what locks and queues cost on this machine"),
    "explain": ("holdfast.cli.explain", "say what an error code such as HF101 means and what to do"),
}

USAGE = """\
usage: holdfast VERB ...

verbs:
{verbs}

options:
  -h, --help   this text; after a verb, the verb's own
  --version    the version

exit codes: 0 well, 1 found something, 2 misuse; `run` has the program's
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: by default those of the process, without its name.

    Returns:
        The exit code: 2 if the command was not understood.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        print(usage(), file=sys.stderr, end="")
        return 2
    verb, rest = words[0], words[1:]
    if verb in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if verb == "--version":
        import holdfast  # noqa: PLC0415 - the verbs do not need it here

        print(f"holdfast {holdfast.__version__}")
        return 0
    if verb not in VERBS:
        return misuse(f"there is no verb {verb!r}; there are: {', '.join(VERBS)}")
    code: int = import_module(VERBS[verb][0]).main(rest)
    return code


def usage() -> str:
    """The text of ``holdfast -h``."""
    return USAGE.format(verbs="\n".join(f"  {verb:<12} {what}" for verb, (_, what) in VERBS.items()))


def misuse(message: str) -> int:
    """Say on standard error what was wrong with the command.

    Args:
        message: what was wrong.

    Returns:
        The exit code for that.
    """
    print(f"holdfast: [HF508] {message}\nTry: holdfast -h", file=sys.stderr)
    return 2
