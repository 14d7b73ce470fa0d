// Notes as sound, by Web Audio.
const LOWEST = 21; // the MIDI number of key 0

export const NAMES = ["C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B"];
export const nameOf = (key) => `${NAMES[(key + LOWEST) % 12]} ${Math.floor((key + LOWEST) / 12) - 1}`;
export const isBlack = (key) => NAMES[(key + LOWEST) % 12].includes("sharp");

export class Sound {
  voices = new Map();

  // A browser lets a page sound after the first press of a button, not before.
  begun() {
    if (!this.context) {
      this.context = new AudioContext();
      // Many notes at once would be louder than a speaker can be.
      this.out = new DynamicsCompressorNode(this.context);
      this.out.connect(this.context.destination);
    }
    this.context.resume();
    return this.context;
  }

  // Makes these keys sound and no others.
  hold(keys) {
    if (!keys.length && !this.context) return;
    clearTimeout(this.ending);
    const wanted = new Set(keys), now = this.begun().currentTime;
    for (const [key, { tone, gain }] of this.voices) {
      if (wanted.has(key)) continue;
      gain.gain.setTargetAtTime(0, now, 0.06);
      tone.stop(now + 0.5);
      this.voices.delete(key);
    }
    for (const key of wanted) {
      if (this.voices.has(key)) continue;
      const tone = this.context.createOscillator(), gain = this.context.createGain();
      tone.type = "triangle";
      tone.frequency.value = 440 * 2 ** ((key + LOWEST - 69) / 12);
      gain.gain.setValueAtTime(0, now);
      gain.gain.linearRampToValueAtTime(0.16, now + 0.015);
      gain.gain.setTargetAtTime(0.09, now + 0.015, 0.4);
      tone.connect(gain).connect(this.out);
      tone.start(now);
      this.voices.set(key, { tone, gain });
    }
  }

  touch(key) {
    this.hold([key]);
    this.ending = setTimeout(() => this.hold([]), 300);
  }
}
