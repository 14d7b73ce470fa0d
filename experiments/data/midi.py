"""Piano rolls as MIDI files, and MIDI files as piano rolls.

A roll says of each step which of the 88 keys are down. Times are rounded to the
nearest step, and a note has at least one. Every track and channel pairs its own notes;
where several hold a key down, it is down until the last of them lets it go. What a roll
cannot say is lost: that a key is struck again at once, how hard, by which instrument,
and the pedal.
"""

import io
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.music import KEYS, LOWEST, notes

TICKS = 480  # of a MIDI file, about so many in a quarter note
DRUMS = 9  # the channel that General MIDI has for them; people count it as 10
TEMPO = 500_000  # microseconds in a quarter note where a file does not say
MOST_STEPS = 200_000


class Grid(NamedTuple):
    """How long a step is: a part of a quarter note, or of a second."""

    steps: int  # in a quarter note, whatever the tempo; or in a second
    in_seconds: bool = False


class Piece(NamedTuple):
    """A MIDI file as it is read."""

    roll: np.ndarray  # [T, 88] uint8
    tempo: int  # quarter notes a minute, at the beginning; 60 on a grid of seconds
    left_out: int  # notes that are drums or have no key among the 88


def read_midi(path: Path, grid: Grid, *, drums: bool = False) -> Piece:
    """Reads a MIDI file of type 0 or 1.

    Args:
      path: of the file.
      grid: of the steps.
      drums: whether the notes of the channel for drums are read as notes too.

    Raises:
      DataError: if the file is damaged or none, is of type 2 (tracks that do not go
        together), has no note, is longer than 200,000 steps, or counts in frames of
        film while steps are parts of quarter notes.
    """
    import mido

    data = files.read_bytes(path)
    try:
        song = mido.MidiFile(file=io.BytesIO(data))
        return _piece(song, grid, drums)
    except EOFError:
        raise DataError(f"{path}: is no MIDI file, or ends too early") from None
    except Exception as error:  # mido raises many kinds for damaged files
        raise DataError(f"{path}: cannot be read as MIDI: {error}") from error


def _piece(song: Any, grid: Grid, drums: bool) -> Piece:
    if song.type == 2:
        raise ValueError("is of type 2, whose tracks do not go together")
    tempos = _tempos(song)
    step = _clock(song.ticks_per_beat, tempos, grid)
    found, ends, left_out = [], [0], 0
    for track in song.tracks:
        spans, end = _spans(track)
        ends.append(end)
        for channel, number, start, stop in spans:
            heard = drums or channel != DRUMS
            if heard and LOWEST <= number < LOWEST + KEYS:
                first = step(start)
                found.append((first, max(step(stop), first + 1), number - LOWEST))
            else:
                left_out += 1
    if not found:
        raise ValueError(f"has no notes to read; {left_out} are drums or off the keys")
    last = max(step(max(ends)), *(stop for _, stop, _ in found))
    if last > MOST_STEPS:
        raise ValueError(f"is {last:,} steps long, more than {MOST_STEPS:,}")
    roll = np.zeros((last, KEYS), np.uint8)
    for start, stop, key in found:
        roll[start:stop, key] = 1
    tempo = 60 if grid.in_seconds else max(1, round(60e6 / tempos[0][1]))
    return Piece(roll, tempo, left_out)


def _spans(track: Any) -> tuple[list[tuple[int, int, int, int]], int]:
    """(channel, number, start, stop) of the notes of a track, in ticks, and its end.

    Of equal notes of a channel the first one to begin is the first one to end. One that
    nothing ends is held until the last end of an equal note after it, or else until the
    end of the track.
    """
    found, now = [], 0
    sounding: defaultdict[tuple[int, int], deque[int]] = defaultdict(deque)
    ended: dict[tuple[int, int], int] = {}
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        one = message.channel, message.note
        if message.type == "note_on" and message.velocity > 0:
            sounding[one].append(now)
        else:
            ended[one] = now
            if sounding[one]:
                found.append((*one, sounding[one].popleft(), now))
    for one, starts in sounding.items():
        for start in starts:
            stop = ended.get(one, 0)
            found.append((*one, start, stop if stop > start else now))
    return found, now


def _tempos(song: Any) -> list[tuple[int, int]]:
    """(tick, microseconds in a quarter note) of each change, from tick 0 on."""
    found = {0: TEMPO}
    for track in song.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "set_tempo":
                found[now] = message.tempo
    return sorted(found.items())


def _clock(
    division: int, tempos: list[tuple[int, int]], grid: Grid
) -> Callable[[int], int]:
    """(tick) -> step, the nearest one; in whole numbers, so that nothing is cut off."""
    if division < 0:  # frames a second, and ticks in a frame
        if not grid.in_seconds:
            raise ValueError(
                "counts in frames of film, not in quarter notes; take a grid of seconds"
            )
        frames, ticks = -(division >> 8), division & 0xFF
        # 29 stands for 30 frames in 1.001 seconds.
        up, down = (1001, 30_000) if frames == 29 else (1, frames)
        return lambda tick: _nearest(tick * grid.steps * up, ticks * down)
    if division == 0:
        raise ValueError("has no ticks in a quarter note")
    if not grid.in_seconds:
        return lambda tick: _nearest(tick * grid.steps, division)

    def microseconds(tick):  # times `division`
        total, before, tempo = 0, 0, TEMPO
        for change, new in tempos:
            if change >= tick:
                break
            total += (change - before) * tempo
            before, tempo = change, new
        return total + (tick - before) * tempo

    return lambda tick: _nearest(microseconds(tick) * grid.steps, 1_000_000 * division)


def _nearest(up: int, down: int) -> int:
    return (2 * up + down) // (2 * down)


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

    step = max(1, round(TICKS / steps))
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
    mido.MidiFile(ticks_per_beat=step * steps, tracks=[track]).save(path)
