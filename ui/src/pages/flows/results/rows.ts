// A list of rows, latest first, that grows at both ends: older ones by pages, newer ones as they come.

import type { Flow } from "../flow";
import { nanoseconds, rowKey, timeOf } from "../selection";

const keys = new WeakMap<Flow, string>();

/** The key of a row, made once. */
export function keyOf(flow: Flow): string {
  let key = keys.get(flow);
  if (key === undefined) keys.set(flow, (key = rowKey(flow)));
  return key;
}

/** Before when the next page ends. It takes in the last row's own moment, of which there may be more. */
export function untilOf(rows: readonly Flow[]): string | undefined {
  const last = rows.at(-1);
  return last && timeOf(nanoseconds(last.time) + 1n);
}

/** `rows` and behind them those of `older` that are not there yet. */
export function appended(rows: readonly Flow[], older: readonly Flow[]): Flow[] {
  const moment = rows.at(-1)?.time;
  const same = new Set<string>();
  for (let at = rows.length - 1; at >= 0 && rows[at]!.time === moment; at -= 1) same.add(keyOf(rows[at]!));
  return [...rows, ...distinct(older, same)];
}

/** `rows` with those of `newer` that are not there yet, in order of time. Both are latest first, or nearly so. */
export function prepended(rows: readonly Flow[], newer: readonly Flow[], most: number): Flow[] {
  const sorted = [...newer].sort(latestFirst);
  const earliest = sorted.at(-1)?.time;
  if (earliest === undefined) return [...rows];
  // Only the beginning of the list can have what comes anew, or what is later than some of it.
  let overlap = 0;
  while (overlap < rows.length && rows[overlap]!.time >= earliest) overlap += 1;
  const begin = rows.slice(0, overlap);
  const fresh = distinct(sorted, new Set(begin.map(keyOf)));
  const merged = begin.length === 0 ? fresh : [...fresh, ...begin].sort(latestFirst);
  return [...merged, ...rows.slice(overlap, Math.max(overlap, most - merged.length))].slice(0, most);
}

function distinct(rows: readonly Flow[], seen: Set<string>): Flow[] {
  return rows.filter((row) => {
    const key = keyOf(row);
    return !seen.has(key) && seen.add(key);
  });
}

const latestFirst = (left: Flow, right: Flow) =>
  left.time < right.time ? 1 : left.time > right.time ? -1 : 0;

/** Makes texts that many rows share one text in memory: a hundred thousand rows name a few workloads. */
export class Sharing {
  #texts = new Map<string, string>();
  #objects = new Map<string, unknown>();

  share(flow: Flow): Flow {
    const fields = flow as unknown as Record<string, unknown>;
    for (const name in fields) {
      const value = fields[name];
      if (typeof value === "string") fields[name] = this.#text(name, value);
      else if (typeof value === "object" && value !== null) fields[name] = this.#object(value);
    }
    return flow;
  }

  #text(name: string, value: string): string {
    // These are different in every row.
    if (name === "time" || name === "end_time" || name === "connection_id") return value;
    const known = this.#texts.get(value);
    if (known === undefined) this.#texts.set(value, value);
    return known ?? value;
  }

  #object(value: object): unknown {
    const text = JSON.stringify(value);
    const known = this.#objects.get(text);
    if (known === undefined) this.#objects.set(text, value);
    return known ?? value;
  }
}
