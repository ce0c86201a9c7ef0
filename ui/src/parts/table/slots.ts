// Rows come and go while somebody scrolls; their elements stay. A row keeps its element as long as it is drawn, and
// one that is new takes over the element of one that is gone: to change texts is much faster than to build elements.

export class Slots {
  #taken = new Map<string, number>();
  #count = 0;

  /** The element of each of the rows that are drawn now, as a number. */
  assign(keys: readonly string[]): number[] {
    const before = this.#taken;
    const now = new Map<string, number>();
    const drawn = new Set(keys);
    const free = [...before].filter(([key]) => !drawn.has(key)).map(([, slot]) => slot);
    let next = 0;
    for (const key of keys) {
      const slot = before.get(key) ?? free[next++] ?? this.#count++;
      now.set(key, slot);
    }
    this.#taken = now;
    return keys.map((key) => now.get(key)!);
  }
}
