// Which lines of a long text are shown: those that something is said of, and what is near them.

export interface Part {
  first: number;
  last: number;
  isFolded: boolean;
}

/** Texts up to so many lines are shown whole. */
const WHOLE = 80;
const NEAR = 4;
/** A shorter part is not worth a button. */
const LEAST = 6;

/** `opened` has the first lines of the parts that somebody opened. */
export function folded(
  count: number,
  marks: ReadonlyMap<number, unknown>,
  opened: ReadonlySet<number>,
): Part[] {
  if (count === 0) return [];
  if (count <= WHOLE) return [{ first: 0, last: count - 1, isFolded: false }];
  const shown = new Set<number>();
  // A policy's head says what it is.
  const told = marks.size === 0 ? [0] : [0, ...marks.keys()];
  for (const line of told) {
    for (let near = line - NEAR; near <= line + NEAR; near += 1) shown.add(near);
  }
  const parts: Part[] = [];
  let first = 0;
  while (first < count) {
    const isShown = shown.has(first);
    let last = first;
    while (last + 1 < count && shown.has(last + 1) === isShown) last += 1;
    const isFolded = !isShown && last - first + 1 >= LEAST && !opened.has(first);
    parts.push({ first, last, isFolded });
    first = last + 1;
  }
  return parts;
}
