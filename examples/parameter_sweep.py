"""A parameter sweep: the same noisy signal is smoothed with many widths, and the width nearest to the truth wins.

    python examples/parameter_sweep.py [SAMPLES]

NumPy is needed. The arrays go to the workers and come back through shared memory by themselves: nothing is set up for
it, and nothing has to be cleaned up.
"""

from __future__ import annotations

import sys
from concurrent.futures import as_completed
from typing import TYPE_CHECKING

import numpy as np

from holdfast.futures import ProcessExecutor

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTHS = range(1, 202, 10)  # samples


def smooth(signal: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The moving average over so many samples."""
    return np.convolve(signal, np.full(width, 1 / width), mode="same")


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The root of the mean squared difference."""
    return float(np.sqrt(np.mean((one - other) ** 2)))


def main() -> int:
    """Run the command."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    truth = np.sin(np.linspace(0.0, 2 * np.pi * samples / 1000, samples))
    noisy = truth + np.random.default_rng(seed=1).normal(scale=0.5, size=samples)

    best, best_width, best_signal = distance(noisy, truth), 0, noisy
    with ProcessExecutor() as executor:  # as many workers as there are processors for this program
        futures = {executor.submit(smooth, noisy, width): width for width in WIDTHS}
        for future in as_completed(futures):
            width, smoothed = futures.pop(future), future.result()  # pop: the array is freed when it has been looked at
            error = distance(smoothed, truth)
            print(f"width {width:3}: error {error:.4f}")
            if error < best:
                best, best_width, best_signal = error, width, smoothed

    print(f"best width {best_width}: the error falls from {distance(noisy, truth):.4f} to {best:.4f}")
    print(f"highest value {best_signal.max():.2f}, of the noisy signal {noisy.max():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
