// Filters in the Cloud Logging language, made from what somebody clicks.

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
  return `${grouped(first)} ${grouped(second)}`;
}

/** What holds for `filter` and not for `condition`. */
export function andNot(filter: string, condition: string): string {
  return and(filter, `NOT ${grouped(condition)}`);
}

/** In parentheses where an OR could reach out. A filter that has none, or has them within others, needs none. */
function grouped(filter: string): string {
  return /\bOR\b/.test(filter.replace(/"(\\.|[^"\\])*"|\([^()]*\)/g, "")) ? `(${filter})` : filter;
}
