// Ranges of time as the address has them (`1h`, `7d`, RFC 3339, "" for now), and what people do with them.

import { moment } from "./time";

export interface Range {
  since: string;
  until: string;
}

export interface Bounds {
  from: number;
  to: number;
}

/** What is offered, from the shortest on. */
export const PRESETS = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "2d", "7d", "30d"] as const;

const UNITS: Record<string, [milliseconds: number, name: string]> = {
  s: [1_000, "second"],
  m: [60_000, "minute"],
  h: [3_600_000, "hour"],
  d: [86_400_000, "day"],
  w: [604_800_000, "week"],
};
const DURATION = /^(\d{1,9})(s|m|h|d|w)$/;
const SHORTEST_MS = 1_000;

/** Of `15m`; nothing if it is no such text. */
export function milliseconds(text: string): number | undefined {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return unit ? Number(count) * UNITS[unit]![0] : undefined;
}

/** From when to when, as far as it can be told here. */
export function bounds({ since, until }: Range, now: number): Bounds | undefined {
  const [from, to] = [instant(since, now), until === "" ? now : instant(until, now)];
  return from === undefined || to === undefined || from >= to ? undefined : { from, to };
}

/** `Last 15 minutes`, or the two moments. */
export function label({ since, until }: Range): string {
  const ago = spoken(since);
  if (ago && until === "") return `Last ${ago}`;
  const from = ago ? `${ago} ago` : moment(since, needsMilliseconds(since));
  if (until === "") return `Since ${from}`;
  const to = spoken(until) ? `${spoken(until)} ago` : moment(until, needsMilliseconds(until));
  return `${from} to ${to}`;
}

/** As long, right before or after it; never in the future. */
export function shifted(range: Range, direction: -1 | 1, now: number): Range | undefined {
  const found = bounds(range, now);
  if (!found) return undefined;
  const length = found.to - found.from;
  const to = Math.min(found.to + direction * length, now);
  return to === found.to ? undefined : absolute({ from: to - length, to });
}

/** Twice as long around its middle; what is not known yet is left out. */
export function widened(range: Range, now: number): Range | undefined {
  const found = bounds(range, now);
  if (!found) return undefined;
  const half = Math.max(found.to - found.from, SHORTEST_MS) / 2;
  return absolute({ from: found.from - half, to: Math.min(found.to + half, Math.max(now, found.to)) });
}

/** The same moments for everybody who follows a link, whenever. */
export function absolute({ from, to }: Bounds): Range {
  return { since: new Date(from).toISOString(), until: new Date(to).toISOString() };
}

/** What somebody typed as the address has it; nothing if nobody knows what it means. `now` is "". */
export function typed(text: string, utc: boolean, now: number): string | undefined {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed.toLowerCase() === "now") return "";
  const short = trimmed.replace(/\s+|^-|ago$/g, "").toLowerCase();
  if (DURATION.test(short)) return short;
  if (/(Z|[+-]\d\d:\d\d)$/i.test(trimmed)) return iso(trimmed.replace(" ", "T"));
  const zone = utc ? "Z" : "";
  if (/^\d{1,2}:\d\d(:\d\d)?$/.test(trimmed)) {
    const today = moment(now, false).slice(0, 10);
    return iso(
      `${today}T${trimmed.padStart(trimmed.length + (trimmed.indexOf(":") === 1 ? 1 : 0), "0")}${zone}`,
    );
  }
  if (/^\d{4}-\d\d-\d\d$/.test(trimmed)) return iso(`${trimmed}T00:00${zone}`);
  if (/^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(trimmed)) {
    return iso(trimmed.replace(" ", "T") + zone);
  }
  return undefined;
}

function instant(text: string, now: number): number | undefined {
  const ago = milliseconds(text);
  if (ago !== undefined) return now - ago;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

function spoken(text: string): string | undefined {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (!unit) return undefined;
  return Number(count) === 1 ? `1 ${UNITS[unit]![1]}` : `${Number(count)} ${UNITS[unit]![1]}s`;
}

function needsMilliseconds(time: string): boolean {
  return new Date(time).getTime() % 1_000 !== 0;
}

function iso(text: string): string | undefined {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}
