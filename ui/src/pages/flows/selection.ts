// What is selected, as a short text for the address: enough to find the same row or group again, in any
// browser, from the API alone.
//
// A row is `r*TIME*CLUSTER*NODE*DIRECTION*STATE*CONNECTION`; without a connection id its addresses follow. A
// group is `g*` and its fields in the order of `GROUP_FIELDS`. `*` and `_` of values are escaped, `_n` is null.

import { equals, type FieldValue } from "../../filter/edit";
import type { Flow, Group } from "./flow";

/** What flows of a group have in common, in the order in which the text has them. */
export const GROUP_FIELDS = [
  "cluster",
  "direction",
  "verdict",
  "reason",
  "policy",
  "protocol",
  "destination_port",
  "source_kind",
  "source_namespace",
  "source_workload_kind",
  "source_workload",
  "destination_kind",
  "destination_namespace",
  "destination_workload_kind",
  "destination_workload",
  "destination_service",
] as const;
export type GroupField = (typeof GROUP_FIELDS)[number];

/** What one row alone has, besides its time. */
const ROW_FIELDS = ["cluster", "node", "direction", "state", "connection_id"] as const;
/** What stands for the connection where it has no id. */
const END_FIELDS = [
  "protocol",
  "source_ip",
  "source_port",
  "destination_ip",
  "destination_port",
  "icmp_type",
  "icmp_code",
] as const;
type RowField = (typeof ROW_FIELDS)[number] | (typeof END_FIELDS)[number];
const NUMBERS: readonly string[] = ["source_port", "destination_port", "icmp_type", "icmp_code"];

type Value = FieldValue | null;

export interface SelectedRow {
  kind: "row";
  /** RFC 3339 with nanoseconds. */
  time: string;
  fields: Partial<Record<RowField, Value>>;
}

export interface SelectedGroup {
  kind: "group";
  fields: Record<GroupField, Value>;
}

export type Selection = SelectedRow | SelectedGroup;

/** How to ask for what is selected. A group has no time of its own: it is looked at in the time of the view. */
export interface Question {
  filter: string;
  since?: string;
  until?: string;
}

/** The text of a row: the same for the same row, whoever loads it. */
export function rowKey(flow: Flow): string {
  const fields: readonly RowField[] =
    flow.connection_id === null ? [...ROW_FIELDS, ...END_FIELDS] : ROW_FIELDS;
  return `r*${nanoseconds(flow.time).toString(36)}*${fields.map((field) => written(flow[field])).join("*")}`;
}

/** The text of a group. */
export function groupKey(group: Pick<Group, GroupField>): string {
  return `g*${GROUP_FIELDS.map((field) => written(group[field])).join("*")}`;
}

/** What a text selects; null where it selects nothing, as after a typing error. */
export function selectionOf(text: string): Selection | null {
  const [kind, ...parts] = text.split("*");
  if (kind === "r") return rowOf(parts);
  if (kind !== "g" || parts.length !== GROUP_FIELDS.length) return null;
  const fields = Object.fromEntries(GROUP_FIELDS.map((field, index) => [field, read(field, parts[index]!)]));
  return { kind: "group", fields: fields as Record<GroupField, Value> };
}

/** The filter, and for a row the time, that find what is selected and nothing else. The language does not tell
 * upper from lower case: where that matters, `isSelected` decides. */
export function filterOf(selection: Selection): Question {
  const conditions = Object.entries(selection.fields).map(([field, value]) => condition(field, value));
  const filter = conditions.join(" ");
  if (selection.kind === "group") return { filter };
  const after = timeOf(nanoseconds(selection.time) + 1n);
  return { filter, since: selection.time, until: after };
}

/** Whether this row, or this group, is exactly what is selected. */
export function isSelected(selection: Selection, found: Flow | Group): boolean {
  if (selection.kind === "row" && (!("time" in found) || found.time !== selection.time)) return false;
  const values: object = found;
  return Object.entries(selection.fields).every(
    ([field, value]) => (values as Record<string, unknown>)[field] === value,
  );
}

/** `field="value"`; of what there is nothing of, `field=NULL_VALUE`. */
export function condition(field: string, value: Value): string {
  return value === null ? `${field}=NULL_VALUE` : equals(field, value);
}

function rowOf(parts: string[]): SelectedRow | null {
  const [time, ...values] = parts;
  if (!time || !/^[0-9a-z]{1,13}$/.test(time)) return null;
  const connected = values[ROW_FIELDS.length - 1] !== "_n";
  const names: readonly RowField[] = connected ? ROW_FIELDS : [...ROW_FIELDS, ...END_FIELDS];
  if (values.length !== names.length) return null;
  const fields = Object.fromEntries(names.map((name, index) => [name, read(name, values[index]!)]));
  return { kind: "row", time: timeOf(fromBase36(time)), fields };
}

function written(value: Value): string {
  if (value === null) return "_n";
  return String(value).replace(/[_*]/g, (special) => (special === "_" ? "__" : "_s"));
}

function read(field: string, text: string): Value {
  if (text === "_n") return null;
  if (NUMBERS.includes(field) && /^\d+$/.test(text)) return Number(text);
  return text.replace(/_(.)/g, (_, special: string) => (special === "_" ? "_" : "*"));
}

/** Since 1970; of RFC 3339 in UTC. */
export function nanoseconds(time: string): bigint {
  const [, seconds, fraction = ""] = /^([^.Z]+)(?:\.(\d{1,9}))?Z$/.exec(time) ?? [];
  if (seconds === undefined) return BigInt(new Date(time).getTime()) * 1_000_000n;
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

/** RFC 3339 in UTC with nanoseconds. */
export function timeOf(since1970: bigint): string {
  const whole = new Date(Number(since1970 / 1_000_000_000n) * 1_000).toISOString().slice(0, 19);
  return `${whole}.${String(since1970 % 1_000_000_000n).padStart(9, "0")}Z`;
}

function fromBase36(text: string): bigint {
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(parseInt(digit, 36));
  return value;
}
