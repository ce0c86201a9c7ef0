// Values of a result as people read them, by the type of their column.

import { moment } from "../../state/time";

export interface ResultColumn {
  name: string;
  type: string;
}

export type Values = Record<string, unknown>;

export type Sort = "time" | "number" | "text" | "other";

/** Numbers that are names: they have no thousands. */
const NAMES = /(^|_)(port|revision|type|code|id|flags|rule|icmp)$/;

export function sortOf({ type }: ResultColumn): Sort {
  if (/^(timestamp|date)/.test(type)) return "time";
  if (/^(u?int\d+|float\d+|decimal\d*\b.*)$/.test(type)) return "number";
  if (/^(text|utf8|boolean)/i.test(type)) return "text";
  return "other";
}

/** All of the value, exactly as the service said it. */
export function wholeText(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The value as it stands in a table. */
export function shownText(value: unknown, column: ResultColumn): string {
  if (value === null || value === undefined) return "null";
  if (sortOf(column) === "time" && column.type.startsWith("timestamp")) return moment(String(value));
  if (typeof value === "number" && !NAMES.test(column.name)) {
    return value.toLocaleString("en-US", { maximumFractionDigits: Math.abs(value) < 1 ? 6 : 3 });
  }
  return wholeText(value);
}
