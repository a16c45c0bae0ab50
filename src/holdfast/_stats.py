"""What a primitive tells about itself: ``stats()`` records and the words of ``repr``."""

from collections import namedtuple

TYPE_CHECKING = False
_JOINABLE = 8  # see rust/holdfast-core/src/arena/layout.rs

if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class Holder(NamedTuple):
        """A thread that holds or waits."""

        pid: int
        tid: int
        process: str
        thread: str
        alive: bool
        thread_gone: bool

    class Stats(NamedTuple):
        """A primitive at one moment."""

        name: str
        kind: str
        holders: tuple[Holder, ...]
        waiters: tuple[Holder, ...]
        held_for: float
        where: str | None
        created: str | None
        contended: int
        recoveries: int
        foreign_releases: int

        @property
        def holder(self) -> Holder | None: ...

    class QueueStats(NamedTuple):
        """A queue at one moment."""

        name: str
        kind: str
        maxsize: int
        size: int
        put: int
        got: int
        unfinished: int
        block_bytes: int
        is_shut_down: bool
        waiters: tuple[Holder, ...]
        created: str | None
        contended: int
else:
    QueueStats = namedtuple(
        "QueueStats",
        "name kind maxsize size put got unfinished block_bytes is_shut_down waiters created contended",
    )
    Holder = namedtuple("Holder", "pid tid process thread alive thread_gone")

    class Stats(
        namedtuple(
            "Stats",
            "name kind holders waiters held_for where created contended recoveries foreign_releases",
        )
    ):
        """A primitive at one moment: who holds it and since when, who waits, and what has happened so far.

        ``held_for`` is in seconds (0.0 while nobody holds it), ``where`` and ``created`` are ``"file:line"`` or None.
        """

        __slots__ = ()

        @property
        def holder(self):
            """The first holder, or None while it is free."""
            return self.holders[0] if self.holders else None


def stats_of(info: "dict[str, Any]") -> "Stats":
    """Builds the record out of what the native object tells."""
    holders = tuple(Holder(*who) for who in info["holders"])
    return Stats(
        name=info["name"],
        kind=info["kind"],
        holders=holders,
        waiters=tuple(Holder(*who) for who in info["waiters"]),
        held_for=info["held_ms"] / 1000 if holders else 0.0,
        where=info["where"] if holders else None,
        created=info["created"],
        contended=info["contended"],
        recoveries=info["recoveries"],
        foreign_releases=info["foreign"],
    )


def queue_stats_of(info: "dict[str, Any]", counts: "tuple[int, int, int, int, bool]") -> "QueueStats":
    """Builds a queue's record out of what the native object tells."""
    put, got, block_bytes, unfinished, is_shut_down = counts
    return QueueStats(
        name=info["name"],
        kind=info["kind"],
        maxsize=info["maximum"],
        size=put - got,
        put=put,
        got=got,
        unfinished=unfinished if info["flags"] & _JOINABLE else 0,
        block_bytes=block_bytes,
        is_shut_down=is_shut_down,
        waiters=tuple(Holder(*who) for who in info["waiters"]),
        created=info["created"],
        contended=info["contended"],
    )


def person(who: "Holder") -> str:
    """A thread in a few words."""
    if not who.pid:
        return "a dead process"
    process = f" ({who.process})" if who.process else ""
    dead = ", dead" if not who.alive else ", which has ended" if who.thread_gone else ""
    return f"{who.pid}{process} thread {who.thread or who.tid}{dead}"


def describe(cls: type, info: "dict[str, Any]", free: str) -> str:
    """The text of a ``repr``: what it is, who holds it, since when and from where, who waits."""
    now = stats_of(info)
    words = [f"holdfast.{cls.__name__}"]
    if now.name:
        words.append(repr(now.name))
    if now.holders:
        more = f" and {len(now.holders) - 1} more" if len(now.holders) > 1 else ""
        place = f", taken at {now.where}" if now.where else ""
        words.append(f"held by {person(now.holders[0])}{more} for {now.held_for:.1f} s{place}")
    else:
        words.append(free)
    if now.waiters:
        words.append(f"{len(now.waiters)} waiting")
    return f"<{', '.join([' '.join(words[:2]), *words[2:]])}>"
