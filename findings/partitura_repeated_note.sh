#!/usr/bin/env bash
# A repeated note of a MIDI file loses its first half and its length in partitura.
#
# One would guess: of two notes of one pitch, the second beginning at the tick at which the
# first ends, every reader makes two notes of half the length each, whether the file has the
# end of the first before or after the beginning of the second within that tick.
#
# What happens: with the end first, yes. With the beginning first, pretty_midi and miditoolkit
# still read 0-480 and 480-960; partitura reads one note, 480-480, of no length: the
# beginning replaces the note that sounds, the old end closes the new note, and the second
# end meets nothing. Of two notes that overlap, 0-480 and 240-960, it keeps one, 240-480.
# So a note array or piano roll of it lacks repeated notes, and no warning tells.
#
# Seen with partitura 1.9.0, miditoolkit 1.0.1, pretty_midi 0.2.11.post0, mido 1.3.3.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q setuptools==80.9.0 wheel==0.45.1
env/bin/pip install -q partitura==1.9.0 miditoolkit==1.0.1 pretty_midi==0.2.11.post0 mido==1.3.3

cat > notes.py <<'END'
import mido
import miditoolkit
import partitura
import pretty_midi

ON, OFF = "note_on", "note_off"


def partitura_notes(path):
    (part,) = partitura.load_performance_midi(path).performedparts
    return [(note["note_on_tick"], note["note_off_tick"]) for note in part.notes]


def miditoolkit_notes(path):
    return [(note.start, note.end) for note in miditoolkit.MidiFile(path).instruments[0].notes]


def pretty_midi_notes(path):
    midi = pretty_midi.PrettyMIDI(path)
    ticks = lambda seconds: int(midi.time_to_tick(seconds))
    return [(ticks(note.start), ticks(note.end)) for note in midi.instruments[0].notes]


def read(events):
    track = mido.MidiTrack()
    last = 0
    for tick, kind in events:
        track.append(mido.Message(kind, note=60, velocity=64, time=tick - last))
        last = tick
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(track)
    midi.save("notes.mid")
    readers = (partitura_notes, miditoolkit_notes, pretty_midi_notes)
    return [sorted(reader("notes.mid")) for reader in readers]


halves = [(0, 480), (480, 960)]
end_first = read([(0, ON), (480, OFF), (480, ON), (960, OFF)])
print("end first:      ", *end_first)
assert end_first == [halves, halves, halves]

beginning_first = read([(0, ON), (480, ON), (480, OFF), (960, OFF)])
print("beginning first:", *beginning_first)
assert beginning_first == [[(480, 480)], halves, halves]

overlap = read([(0, ON), (240, ON), (480, OFF), (960, OFF)])
print("overlapping:    ", *overlap)
assert overlap[0] == [(240, 480)] and overlap[1] == [(0, 480), (240, 960)]
END
env/bin/python -W ignore notes.py
echo "as described"
