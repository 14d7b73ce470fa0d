"""Hidden units that a person can read."""

import numpy as np


def telling_units(states: np.ndarray, text: str) -> tuple[int, int]:
    """Two units that are easy to read.

    Args:
      states: [T, H], after each character.
      text: of T characters.

    Returns:
      The unit with the largest correlation, positive or negative, with the number of
      characters since the last line end; and another one, that with the smallest mean
      step beside its standard deviation, among the half with the larger ones.

    References:
      Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent
      networks", 2015.

    Example:
      >>> text, steps = "one\\ntwo\\nsix\\n", np.arange(12)
      >>> place = np.array([0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 0])
      >>> states = np.stack([steps % 2, -place, steps // 6], axis=1)
      >>> telling_units(states.astype(float), text)
      (1, 2)
    """
    places = np.arange(len(text))
    ends = np.where([character == "\n" for character in text], places, 0)
    place = places - np.maximum.accumulate(ends)
    spread = states.std(axis=0) + 1e-6
    centered = (states - states.mean(axis=0)) / spread
    with_place = np.abs((place - place.mean()) @ centered)
    steps = np.abs(np.diff(states, axis=0)).mean(axis=0) / spread
    # A unit that hardly moves at all tells nothing.
    steps = np.where(spread >= np.median(spread), steps, np.inf)
    first = int(with_place.argmax())
    steps[first] = np.inf
    return first, int(steps.argmin())
