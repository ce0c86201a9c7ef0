// The text of the filter in pieces, each with what is known of it: kind of token, error or warning.

import type { Schemas } from "../../../api/client";
import { rangeOf, type Range } from "../../../filter/place";
import { tokens } from "../../../filter/tokens";

export interface Piece {
  text: string;
  /** Of the token: `field`, `operator`, `word`, `comment`, … */
  kind: string;
  problem?: "error" | "warning";
}

type Answer = Schemas["FilterAnswer"];

export function pieces(text: string, checked: Answer | undefined): Piece[] {
  const errors = checked?.error ? [visible(text, checked.error)] : [];
  const warnings = (checked?.warnings ?? []).map((place) => visible(text, place));
  const all = tokens(text);
  const kinds = all.map((token, index) => {
    const isField = token.kind === "word" && all[index + 1]?.kind === "operator";
    return { from: token.from, to: token.to, kind: isField ? "field" : token.kind };
  });
  const cuts = new Set([0, text.length]);
  for (const { from, to } of [...kinds, ...errors, ...warnings]) cuts.add(from).add(to);
  const sorted = [...cuts].filter((cut) => cut <= text.length).sort((left, right) => left - right);
  const has = (ranges: Range[], from: number) =>
    ranges.some((range) => range.from <= from && from < range.to);
  return sorted.slice(0, -1).map((from, index) => {
    const kind = kinds.find((token) => token.from <= from && from < token.to)?.kind ?? "blank";
    const problem = has(errors, from) ? "error" : has(warnings, from) ? "warning" : undefined;
    return { text: text.slice(from, sorted[index + 1]), kind, problem };
  });
}

/** What is missing at an end is shown at the character before. */
function visible(text: string, place: Schemas["Place"]): Range {
  const { from, to } = rangeOf(text, place);
  return from < to ? { from, to } : { from: Math.max(from - 1, 0), to };
}
