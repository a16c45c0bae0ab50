"""``holdfast bench``: what locks and queues cost on this machine, beside those of others that are installed."""

from __future__ import annotations

from holdfast.cli.main import misuse

__all__ = ["main"]

USAGE = """\
usage: holdfast bench locks|queues [--rounds N] [--json]

Measures locks, or queues and pipes, of holdfast, of the standard library and of
what else is installed, each N times in turn, and prints the medians. It takes a
few seconds. A busy machine shows other figures; compare those of one run.

options:
  --rounds N   how often each is measured (default 5)
  --json       as one JSON object: {"machine": ..., "rows": [...]}
"""
ANCHORS = ("multiprocessing.Lock", "multiprocessing.Queue")


def main(arguments: list[str]) -> int:
    """Measure and print.

    Args:
        arguments: ``locks|queues [--rounds N] [--json]``.

    Returns:
        0, or 2 if the command was not understood.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    words, rounds = [word for word in arguments if word != "--json"], 5
    if "--rounds" in words:
        at = words.index("--rounds")
        number = words[at + 1] if at + 1 < len(words) else ""
        if not number.isdecimal() or int(number) < 1:
            return misuse("--rounds needs a number, 1 or more")
        rounds = int(number)
        del words[at : at + 2]
    if words not in (["locks"], ["queues"]):
        return misuse("bench takes one of: locks, queues")
    from holdfast import _bench  # noqa: PLC0415 - not needed for the help

    rows = _bench.locks(rounds) if words == ["locks"] else _bench.queues(rounds)
    if "--json" in arguments:
        import json  # noqa: PLC0415 - only for --json
        from dataclasses import asdict  # noqa: PLC0415 - as above

        print(json.dumps({"machine": _bench.describe(), "rows": [asdict(row) for row in rows]}))
        return 0
    print(f"median of {rounds} rounds; {_bench.describe()}")
    anchors = {row.work: row.figure for row in rows if row.name in ANCHORS}
    work = ""
    for row in rows:
        if row.work != work:
            work = row.work
            print(f"\n{work + ', ' + row.unit:<36}{'':>12}  ratio")
        print(f"  {row.name:<34}{row.figure:>12,.0f}  {row.figure / anchors[work]:<6.2f} {row.note}")
    return 0
