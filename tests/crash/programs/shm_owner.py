"""PAINS 12, the owner: makes a block, prints its name, waits for a line, and says whether the block is still whole."""

import multiprocessing as mp
import sys
from multiprocessing import shared_memory

import steps


def main():
    steps.begin()
    mp.get_logger()
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[:5] = b"whole"
    print(block.name, flush=True)
    sys.stdin.readline()
    try:
        again = shared_memory.SharedMemory(block.name)
    except FileNotFoundError:
        return steps.finish("the block was destroyed under its owner")
    whole = bytes(again.buf[:5]) == b"whole"
    again.close()
    block.close()
    block.unlink()
    steps.finish(None if whole else "the block has lost its content")


if __name__ == "__main__":
    main()
