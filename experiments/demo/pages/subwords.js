// The subwords of experiments/data/subwords.py, by byte pair encoding, with equal numbers.
const SPACE = "\u2581", NO_SPACE = "\ufdd0";

export class Subwords {
  // parts: {tokens, merges, lowercase}; unknown: the number of what was not learned.
  constructor({ tokens, merges, lowercase }, unknown) {
    Object.assign(this, { unknown, lowercase, known: new Map() });
    this.numbers = new Map(tokens.map((token, i) => [token, i]));
    this.merged = new Map(merges.map(([a, b], rank) =>
      [a * tokens.length + b, [rank, this.numbers.get(tokens[a] + tokens[b])]]));
    this.size = tokens.length;
  }

  // The words between spaces and the tokens of each; a text without a word is one unknown token.
  words(text) {
    const found = text.split(" ").filter((word) => word);
    return (found.length ? found : [""]).map((word) => ({ word, tokens: this.encode(word) }));
  }

  encode(word) {
    if (this.known.size > 100000) this.known.clear();
    if (!this.known.has(word)) {
      const pieces = this.pieces(word).flatMap((piece) => this.merge(piece));
      this.known.set(word, word && pieces.length ? pieces : [this.unknown]);
    }
    return this.known.get(word);
  }

  // Punctuation stands alone; the space before a word is its first letter.
  pieces(word) {
    let text = word.replaceAll(SPACE, NO_SPACE).normalize("NFC");
    // Letter by letter: in a whole word a Greek sigma would depend on what follows it.
    if (this.lowercase) text = Array.from(text, (c) => c.toLowerCase()).join("");
    return (SPACE + text).match(/[\p{P}$+<=>^`|~]|[^\p{P}$+<=>^`|~]+/gu) ?? [];
  }

  merge(piece) {
    const found = Array.from(piece, (c) => this.numbers.get(c) ?? this.unknown);
    for (;;) {
      let best = null, at = -1;
      for (let i = 0; i + 1 < found.length; i += 1) {
        const pair = this.merged.get(found[i] * this.size + found[i + 1]);
        if (pair && (!best || pair[0] < best[0])) [best, at] = [pair, i];
      }
      if (!best) return found;
      found.splice(at, 2, best[1]);
    }
  }
}
