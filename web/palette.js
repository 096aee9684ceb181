// Eight colours that colour-blind people can tell apart (after Paul Tol), five patterns, and always a text: forty
// looks before one comes twice.

const COLOURS = 8;
const PATTERNS = 5;

/** Gives every key a look, the most frequent first, and keeps it while the page is open. */
export class Palette {
  #looks = new Map();

  /** Learns keys with their weights; those that have a look keep it. */
  learn(weights) {
    const fresh = [...weights].filter(([key]) => !this.#looks.has(key));
    fresh.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    for (const [key] of fresh) this.look(key);
  }

  /** Classes of a key's look: colour and pattern change at different steps. */
  look(key) {
    if (!this.#looks.has(key)) {
      const number = this.#looks.size;
      this.#looks.set(key, `c${number % COLOURS} p${number % PATTERNS}`);
    }
    return this.#looks.get(key);
  }
}

export const namespaceOf = (pod) => pod.slice(0, pod.indexOf('/'));
