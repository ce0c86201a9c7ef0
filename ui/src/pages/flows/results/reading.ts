// Whether somebody reads, so that nothing may move under their eyes or their pointer.

export interface Reading {
  paused: boolean;
  selected: boolean;
  scrolled: boolean;
  focused: boolean;
  pointed: boolean;
  /** In milliseconds since 1970. */
  pointerMoved: number;
  /** Whether rows are listed, not groups. */
  rows: boolean;
}

/** A pointer that moves is about to click; one that rests lies where the list happens to be. */
const RESTS_AFTER_MS = 2_000;

/** Why what is new waits; "" if it does not. */
export function waitsFor(reading: Reading, now: number): string {
  if (reading.paused) return "live is paused";
  if (reading.selected) return "a row is selected";
  if (reading.scrolled) return "the list is scrolled";
  if (reading.focused) return "the focus is in the list";
  if (!reading.pointed) return "";
  // Groups change places; rows only make room at the top, which is what one watches.
  const rests = reading.rows && now - reading.pointerMoved > RESTS_AFTER_MS;
  return rests ? "" : "the pointer is on the list";
}
