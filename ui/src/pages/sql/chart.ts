// What can be drawn of a result, and what is drawn.

import { sortOf, wholeText, type ResultColumn, type Values } from "./values";

export const KINDS = ["lines", "columns", "bars"] as const;
export type Kind = (typeof KINDS)[number];

/** What somebody asked for; empty is whatever fits. */
export interface Wish {
  kind: string;
  x: string;
  y: string;
  by: string;
}

export interface Plan {
  kind: Kind;
  /** The column of times, or of texts; empty: all texts together. */
  x: string;
  y: string;
  /** Whose values are series of their own; empty if there are none. */
  by: string;
  /** What else there would be. */
  kinds: Kind[];
  xs: string[];
  ys: string[];
  bys: string[];
  /** What was asked for and is not there. */
  unknown: string[];
}

export interface Series {
  name: string;
  /** One for each time. */
  values: (number | null)[];
}

export interface OverTime {
  /** Seconds since 1970, ascending. */
  times: number[];
  series: Series[];
  more: number;
  /** Whether several rows had the same place and were summed. */
  summed: boolean;
}

export interface Bar {
  label: string;
  value: number;
}

const MOST_SERIES = 12;
const MOST_BARS = 60;
/** `by`, if somebody wants no series of their own. */
export const NOTHING = "-";

/** How to draw these columns; undefined if there is nothing to draw. */
export function planOf(columns: readonly ResultColumn[], wish: Wish): Plan | undefined {
  const named = (sort: string) => columns.filter((column) => sortOf(column) === sort).map(({ name }) => name);
  const [times, numbers, texts] = [named("time"), named("number"), named("text")];
  const labels = texts.length > 0 ? texts : times;
  const kinds = KINDS.filter((kind) => (kind === "bars" ? labels.length > 0 : times.length > 0));
  if (numbers.length === 0 || kinds.length === 0) return undefined;
  const unknown: string[] = [];
  const pick = <T extends string>(wanted: string, of: readonly T[], otherwise: T): T => {
    if (wanted === "") return otherwise;
    const found = of.find((each) => each === wanted);
    if (found === undefined) unknown.push(wanted);
    return found ?? otherwise;
  };
  const kind = pick(wish.kind, kinds, kinds[0]!);
  const xs = kind === "bars" ? (labels.length > 1 ? ["", ...labels] : labels) : times;
  const bys = kind === "bars" ? [""] : ["", ...texts];
  return {
    kind,
    x: pick(wish.x, xs, xs[0]!),
    y: pick(wish.y, numbers, numbers[0]!),
    by: wish.by === NOTHING ? "" : pick(wish.by, bys, bys[1] ?? ""),
    kinds,
    xs,
    ys: numbers,
    bys,
    unknown,
  };
}

/** Series over time: those with the largest sums. */
export function overTime(rows: readonly Values[], plan: Plan): OverTime {
  const series = new Map<string, Map<number, number>>();
  const times = new Set<number>();
  let summed = false;
  for (const row of rows) {
    const time = Date.parse(wholeText(row[plan.x])) / 1_000;
    const value = numberOf(row[plan.y]);
    if (!Number.isFinite(time) || value === undefined) continue;
    times.add(time);
    const name = plan.by === "" ? plan.y : named(row[plan.by]);
    const points = series.get(name) ?? new Map<number, number>();
    series.set(name, points);
    summed ||= points.has(time);
    points.set(time, (points.get(time) ?? 0) + value);
  }
  const sorted = [...times].sort((a, b) => a - b);
  const sum = (points: Map<number, number>) =>
    [...points.values()].reduce((all, value) => all + Math.abs(value), 0);
  const largest = [...series].sort(([, a], [, b]) => sum(b) - sum(a));
  return {
    times: sorted,
    series: largest.slice(0, MOST_SERIES).map(([name, points]) => ({
      name,
      values: sorted.map((time) => points.get(time) ?? null),
    })),
    more: Math.max(0, largest.length - MOST_SERIES),
    summed,
  };
}

/** The same, each above those before it. */
export function stacked(series: readonly Series[]): Series[] {
  const below: number[] = [];
  return series.map(({ name, values }) => ({
    name,
    values: values.map((value, index) => (below[index] = (below[index] ?? 0) + (value ?? 0))),
  }));
}

/** A bar for each text, the largest first. */
export function bars(rows: readonly Values[], plan: Plan): { bars: Bar[]; more: number } {
  const sums = new Map<string, number>();
  const columns = plan.x === "" ? plan.xs.filter((name) => name !== "") : [plan.x];
  for (const row of rows) {
    const value = numberOf(row[plan.y]);
    if (value === undefined) continue;
    const label = columns.map((name) => named(row[name])).join(" · ");
    sums.set(label, (sums.get(label) ?? 0) + value);
  }
  const sorted = [...sums]
    .map(([label, value]) => ({ label, value }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  return { bars: sorted.slice(0, MOST_BARS), more: Math.max(0, sorted.length - MOST_BARS) };
}

function named(value: unknown): string {
  return value === null || value === undefined ? "null" : wholeText(value);
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}
