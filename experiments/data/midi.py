"""Piano rolls as MIDI files."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.music import LOWEST, notes

TICKS = 480  # of a MIDI file, in a quarter note


def write_midi(
    path: Path, roll: np.ndarray, steps: int, tempo: int, given: int = 0
) -> None:
    """Writes a MIDI file of one track; keys that sound on are one note.

    Args:
      path: where it goes.
      roll: [T, 88].
      steps: in a quarter note.
      tempo: quarter notes a minute.
      given: a marker stands after the first `given` steps; 0: there is none.
    """
    import mido

    step = TICKS // steps
    end = mido.MetaMessage("end_of_track")
    events: list[tuple[int, int, Any]] = [(len(roll), 3, end)]
    if given:
        events.append((given, 0, mido.MetaMessage("marker", text="made from here on")))
    for start, stop, key in notes(roll):
        number = key + LOWEST
        events.append((stop, 1, mido.Message("note_off", note=number)))
        events.append((start, 2, mido.Message("note_on", note=number, velocity=80)))
    # A key is let go before it is struck anew.
    events.sort(key=lambda event: event[:2])
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    now = 0
    for when, _, message in events:
        track.append(message.copy(time=(when - now) * step))
        now = when
    mido.MidiFile(ticks_per_beat=TICKS, tracks=[track]).save(path)
