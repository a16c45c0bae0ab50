"""``holdfast explain``: the page of an error code."""

from __future__ import annotations

from holdfast.cli.main import misuse

__all__ = ["main"]

USAGE = """\
usage: holdfast explain CODE [--json]

Prints what an error or warning with that code (such as HF101) means, why it
happens, what became of the rest, and what to do next.

options:
  --json       as one JSON object: {"code": ..., "page": ...}
"""


def main(arguments: list[str]) -> int:
    """Print the page of a code.

    Args:
        arguments: ``CODE [--json]``.

    Returns:
        0, or 2 if there is no such code.
    """
    words = [word for word in arguments if word != "--json"]
    if words in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if len(words) != 1:
        return misuse("explain takes one code, such as HF101")
    from holdfast.errors import BadArgument, explain  # noqa: PLC0415 - not needed for the help

    try:
        page = explain(words[0])
    except BadArgument as error:
        return misuse(error.args[0].partition("] ")[2] or str(error))
    if len(words) != len(arguments):
        import json  # noqa: PLC0415 - only for --json

        page = json.dumps({"code": words[0].strip().upper(), "page": page})
    print(page.rstrip("\n"))
    return 0
