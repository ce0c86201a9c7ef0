// What a grid and whoever uses it tell each other: where somebody is, what they point at, and whether they read.

import type { Active, Step } from "./active";

export interface Place {
  key: string;
  column: string;
}

export class GridState {
  /** The cell that the keys are about. */
  active = $state.raw<Active | null>(null);
  /** The cell under the pointer. */
  pointed = $state.raw<Place | null>(null);
  /** Whether the first row is out of sight. */
  scrolled = $state(false);
  /** Whether the focus is on a row. */
  focused = $state(false);
  /** When the pointer was last moved over rows, in milliseconds since 1970. */
  pointerMoved = $state(0);
  /** Goes to another cell and sees to it that it is in sight; takes the focus there unless told not to. Set by the
   * grid while it is on the page. */
  go: (step: Step, focus?: boolean) => void = () => {};
}
