"""A crawler: asyncio waits for the network, processes do the work, neither waits for the other.

    python examples/crawler.py [PAGES]

The site is a little server that this program starts on this machine. Four fetchers take addresses from a list of what
is to do; what they bring goes to a worker process, which looks for links and counts words, while the loop fetches on.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import holdfast
from holdfast.futures import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

FETCHERS = 4
WORDS = ["lock", "queue", "pool", "ring", "seat", "word", "page", "link", "tree", "leaf", "root"]


class Reader(HTMLParser):
    """Collects the links and the words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep where a link leads to."""
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]

    def handle_data(self, text: str) -> None:
        """Count words."""
        self.words.update(text.split())


def read(page: str) -> tuple[list[str], Counter[str]]:
    """The links and words of a page; this runs in a worker process, for it keeps a processor busy."""
    reader = Reader()
    reader.feed(page)
    return reader.links, reader.words


async def fetch(port: int, path: str) -> str:
    """The page under a path of the local server."""
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", port)
    outgoing.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = (await incoming.read()).decode()
    outgoing.close()
    await outgoing.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    if " 200 " not in head.splitlines()[0]:
        message = f"{path}: {head.splitlines()[0]}"
        raise ConnectionError(message)
    return body


async def crawl(port: int, executor: Executor) -> tuple[set[str], Counter[str]]:
    """Follow all links from the first page on; return the paths and the words that were found."""
    loop = asyncio.get_running_loop()
    seen, words = {"/0"}, Counter[str]()
    to_do: asyncio.Queue[str] = asyncio.Queue()
    to_do.put_nowait("/0")

    async def visit() -> None:
        while True:
            path = await to_do.get()
            page = await fetch(port, path)
            links, found = await loop.run_in_executor(executor, read, page)
            words.update(found)
            for link in links:
                if link not in seen:
                    seen.add(link)
                    to_do.put_nowait(link)
            to_do.task_done()  # after its links are in: the list is not done before they are

    async with asyncio.TaskGroup() as group:  # if a fetcher fails, the group ends the others and raises what it raised
        fetchers = [group.create_task(visit()) for _ in range(FETCHERS)]
        await to_do.join()
        for fetcher in fetchers:
            fetcher.cancel()
    return seen, words


def site(pages: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]:
    """A server's answer to requests: page N is full of words and leads to pages 2N + 1 and 2N + 2, a tree."""

    async def answer(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        path = (await incoming.readuntil(b"\r\n\r\n")).split()[1].decode()
        number = int(path.removeprefix("/"))
        children = [child for child in (2 * number + 1, 2 * number + 2) if child < pages]
        links = "".join(f'<a href="/{child}">page</a> ' for child in children)
        text = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(1000))
        outgoing.write(f"HTTP/1.0 200 OK\r\n\r\n<p>{text}</p>{links}".encode())
        await outgoing.drain()
        outgoing.close()

    return answer


async def run(pages: int) -> None:
    """Start the site, crawl it, say what was found."""
    # Not forked from here: workers would inherit the connections that are open at that moment, and keep them open.
    with ProcessExecutor(2, mp_context=holdfast.get_context("forkserver")) as executor:
        server = await asyncio.start_server(site(pages), "127.0.0.1", 0)  # port 0: any free one
        async with server:
            paths, words = await crawl(server.sockets[0].getsockname()[1], executor)
    print(f"{len(paths)} pages, {words.total():,} words; the most frequent: ", end="")
    print(", ".join(f"{word} {count:,}" for word, count in words.most_common(3)))


def main() -> int:
    """Run the command."""
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
    return 0


if __name__ == "__main__":
    sys.exit(main())
