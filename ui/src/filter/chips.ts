// A filter as a row of chips, and what clicks on chips and facets make of its text. What is not clicked keeps
// its words, its order and its comments.

import { and, not, oneOf, quoted, type FieldValue } from "./edit";
import { parts, type Part } from "./parse";
import { tokens } from "./tokens";

/** Flows that have a value, or with `null` those that have none. */
export type Wanted = FieldValue | null;

export type Standing = "included" | "excluded" | undefined;

/** The text without a part, and without the AND that joined it. */
export function without(text: string, part: Part): string {
  return replaced(text, part, "");
}

/** The text with another condition in a part's place. */
export function replaced(text: string, part: Part, condition: string): string {
  if (condition !== "") return text.slice(0, part.from) + condition + text.slice(part.to);
  let { from, to } = part;
  const all = tokens(text);
  const next = all.find((token) => token.from >= to && token.kind !== "comment");
  const before = all.findLast((token) => token.to <= from && token.kind !== "comment");
  if (next?.kind === "and") to = next.to;
  else if (before?.kind === "and") from = before.from;
  const [left, right] = [text.slice(0, from).trimEnd(), text.slice(to).trimStart()];
  if (left === "" || right === "") return left + right;
  return `${left}${tokens(left).at(-1)?.kind === "comment" ? "\n" : " "}${right}`;
}

/** The text with the opposite of a part. */
export function turned(text: string, part: Part): string {
  const inner = text.slice(part.inner.from, part.inner.to);
  return replaced(text, part, part.negated ? inner : not(inner));
}

/** What a filter says of a value. */
export function standing(text: string, field: string, value: Wanted): Standing {
  const found = (parts(text) ?? []).find((part) => says(part, field, value));
  if (!found) return undefined;
  return isNegative(found, value) ? "excluded" : "included";
}

/** Flows with the value too; again to take that back. */
export function include(text: string, field: string, value: Wanted): string {
  const now = standing(text, field, value);
  const free = now === undefined ? text : taken(text, field, value);
  if (now === "included") return free;
  const same = value === null ? undefined : listOf(free, field, false);
  if (same) return replaced(free, same, oneOf(field, [...valuesOf(same), value!]));
  return and(free, condition(field, value));
}

/** Flows with the value not; again to take that back. */
export function exclude(text: string, field: string, value: Wanted): string {
  const now = standing(text, field, value);
  const free = now === undefined ? text : taken(text, field, value);
  if (now === "excluded") return free;
  if (value === null) return and(free, `${field}:*`);
  const same = listOf(free, field, true);
  if (same) return replaced(free, same, not(oneOf(field, [...valuesOf(same), value])));
  return and(free, not(condition(field, value)));
}

/** Of this field, nothing but the value. */
export function only(text: string, field: string, value: Wanted): string {
  let rest = text;
  for (;;) {
    const part = (parts(rest) ?? []).find((candidate) => isOf(candidate, field));
    if (!part) return and(rest, condition(field, value));
    rest = without(rest, part);
  }
}

function condition(field: string, value: Wanted): string {
  return value === null ? not(`${field}:*`) : oneOf(field, [value]);
}

/** The text with nothing said of a value. */
function taken(text: string, field: string, value: Wanted): string {
  const part = (parts(text) ?? []).find((candidate) => says(candidate, field, value));
  if (!part?.comparison) return text;
  const rest = part.comparison.values.filter((other) => other !== String(value));
  if (value === null || rest.length === 0) return without(text, part);
  const left = oneOf(field, rest.map(numeric));
  return replaced(text, part, part.negated ? not(left) : left);
}

function says(part: Part, field: string, value: Wanted): boolean {
  if (!isOf(part, field) || !part.comparison) return false;
  const { operator, values, asks } = part.comparison;
  if (value === null) return asks !== undefined;
  return asks === undefined && (operator === "=" || operator === "!=") && values.includes(String(value));
}

function isNegative(part: Part, value: Wanted): boolean {
  const { operator, asks } = part.comparison!;
  if (value === null) return (asks === "any") !== part.negated;
  return (operator === "!=") !== part.negated;
}

/** The part that lists values of a field, to which one more can be added. */
function listOf(text: string, field: string, negated: boolean): Part | undefined {
  return (parts(text) ?? []).find(
    (part) =>
      isOf(part, field) &&
      part.negated === negated &&
      part.comparison!.operator === "=" &&
      part.comparison!.asks === undefined,
  );
}

function valuesOf(part: Part): FieldValue[] {
  return part.comparison!.values.map(numeric);
}

/** Numbers are written without quotes. */
function numeric(value: string): FieldValue {
  return /^(0|[1-9]\d{0,14})$/.test(value) ? Number(value) : value;
}

/** Whether a part compares a field. */
export function isOf(part: Part, field: string): boolean {
  return part.comparison !== undefined && plainName(part.comparison.field) === plainName(field);
}

/** A field's name without the quotes around the keys of labels. */
function plainName(field: string): string {
  return tokens(field)[0]?.value ?? field;
}

/** A field's name as the language writes it: keys of labels may have anything in them. */
export function written(field: string): string {
  const [column = "", ...key] = field.split(".");
  if (key.length === 0) return field;
  const name = key.join(".");
  return /^[\p{L}\p{N}_/\-%@+$]+$/u.test(name) ? field : `${column}.${quoted(name)}`;
}
