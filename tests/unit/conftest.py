"""The event loops of the tests of awaitable methods."""

import anyio
import pytest


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Runs an async function on each event loop in turn."""
    return lambda main, *args: anyio.run(main, *args, backend=request.param)
