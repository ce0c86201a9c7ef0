// Keys of the list, the same for rows and groups.

import type { GridState } from "../../../parts/table/grid.svelte";
import { shortcuts } from "../../../state/shortcuts.svelte";

export interface ListKeys {
  grid: GridState;
  /** The active row changed by a key. */
  went: () => void;
  open: () => void;
  include: () => void;
  exclude: () => void;
}

/** Takes the keys until the returned function is called. */
export function takeKeys({ grid, went, open, include, exclude }: ListKeys): () => void {
  const go = (rows: number) => () => {
    // Whoever reads in the drawer keeps the focus there.
    const elsewhere = document.activeElement !== document.body && !grid.focused;
    grid.go({ rows, columns: 0 }, !elsewhere || !inDrawer());
    went();
  };
  return shortcuts.take([
    { keys: "j", does: "Next row", run: go(1) },
    { keys: "k", does: "Row before", run: go(-1) },
    { keys: "g g", does: "First row", run: go(-Infinity) },
    { keys: "Shift+G", does: "Last row that is loaded", run: go(Infinity) },
    { keys: "o", does: "Why: open the row (Enter in the list)", run: open },
    { keys: "f", does: "Only flows with the value of the cell", run: include },
    { keys: "Shift+F", does: "No flows with the value of the cell", run: exclude },
  ]);
}

function inDrawer(): boolean {
  return document.activeElement?.closest("aside") !== null;
}
