// Filters in the Cloud Logging language, made from what somebody clicks.

import { parts } from "./parse";
import { tokens } from "./tokens";

export type FieldValue = string | number;

/** A text as the language writes it. */
export function quoted(value: FieldValue): string {
  if (typeof value === "number") return String(value);
  const escaped = value
    .replace(/[\\"]/g, "\\$&")
    .replace(/\n/g, "\\n")
    .replace(/\r/g, "\\r")
    .replace(/\t/g, "\\t");
  return `"${escaped}"`;
}

/** `field="value"`. */
export function equals(field: string, value: FieldValue): string {
  return `${field}=${quoted(value)}`;
}

/** `field=("a" OR "b")`. */
export function oneOf(field: string, values: readonly FieldValue[]): string {
  if (values.length === 1) return equals(field, values[0]!);
  return `${field}=(${values.map(quoted).join(" OR ")})`;
}

/** Both; an empty one says nothing. */
export function and(left: string, right: string): string {
  const [first, second] = [left.trim(), right.trim()];
  if (first === "" || second === "") return first + second;
  // A comment at the end would swallow what follows it.
  const begin = grouped(first);
  return `${begin}${endsInComment(begin) ? "\n" : " "}${grouped(second)}`;
}

/** What holds for `filter` and not for `condition`. */
export function andNot(filter: string, condition: string): string {
  return and(filter, not(condition));
}

/** What must not be; the trap of `!=` is that it leaves out what has no value. */
export function not(condition: string): string {
  const [only, ...more] = parts(condition) ?? [];
  const isOne = only?.comparison !== undefined && !only.negated && more.length === 0;
  return `NOT ${isOne ? condition.trim() : `(${condition.trim()})`}`;
}

/** In parentheses where an OR could reach out. A filter that has none, or has them within others, needs none. */
function grouped(filter: string): string {
  let depth = 0;
  for (const { kind } of tokens(filter)) {
    if (kind === "open") depth += 1;
    if (kind === "close") depth -= 1;
    if (kind === "or" && depth === 0) return `(${filter}${endsInComment(filter) ? "\n" : ""})`;
  }
  return filter;
}

function endsInComment(filter: string): boolean {
  return tokens(filter).at(-1)?.kind === "comment";
}
