// Where somebody is in a grid: a row by what it is, not by its place, since rows come before it.

export interface Active {
  /** Of the row; "" is the header. */
  key: string;
  /** Where the row was when it was last looked for. */
  index: number;
  column: string;
}

export const HEADER = -1;

/** Where a row is now; -2 if it is gone. Looks near where it was first. */
export function locate<Row>(
  rows: readonly Row[],
  keyOf: (row: Row) => string,
  active: Pick<Active, "key" | "index">,
): number {
  if (active.key === "") return HEADER;
  const is = (index: number) => {
    const row = rows[index];
    return row !== undefined && keyOf(row) === active.key;
  };
  const near = Math.min(Math.max(0, active.index), rows.length - 1);
  for (let distance = 0; distance < rows.length; distance += 1) {
    if (is(near + distance)) return near + distance;
    if (is(near - distance)) return near - distance;
  }
  return GONE;
}

export const GONE = -2;

export interface Step {
  rows: number;
  columns: number;
}

/** How far a key goes, by the grid pattern of ARIA; null if it is none of its keys. Whoever applies it stops at the
 * ends. */
export function stepOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey">, page: number): Step | null {
  const far = event.ctrlKey || event.metaKey;
  switch (event.key) {
    case "ArrowDown":
      return { rows: 1, columns: 0 };
    case "ArrowUp":
      return { rows: -1, columns: 0 };
    case "ArrowRight":
      return { rows: 0, columns: 1 };
    case "ArrowLeft":
      return { rows: 0, columns: -1 };
    case "PageDown":
      return { rows: page, columns: 0 };
    case "PageUp":
      return { rows: -page, columns: 0 };
    case "Home":
      return { rows: far ? -Infinity : 0, columns: -Infinity };
    case "End":
      return { rows: far ? Infinity : 0, columns: Infinity };
    default:
      return null;
  }
}
