// Where the service says that something is wrong: by lines and characters. Here: by positions in the text.

import type { Schemas } from "../api/client";

export interface Range {
  from: number;
  to: number;
}

/** The place in the text; empty if it is the text's end. */
export function rangeOf(text: string, place: Schemas["Place"]): Range {
  const lines = text.split("\n");
  const line = lines[place.line - 1] ?? "";
  const before = lines.slice(0, place.line - 1).reduce((sum, earlier) => sum + earlier.length + 1, 0);
  const characters = [...line];
  const units = (count: number) => characters.slice(0, count).join("").length;
  return { from: before + units(place.column - 1), to: before + units(place.end - 1) };
}
