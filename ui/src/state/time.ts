// Times as people read them: always with the date, and with the zone where it is not the reader's own.

import { preferences } from "./preferences.svelte";

const part = (value: number, digits = 2) => String(value).padStart(digits, "0");

/** `2026-11-28 14:03:07.123`, with `Z` in UTC. Takes RFC 3339 with any number of digits, or milliseconds. */
export function moment(time: string | number, milliseconds = true): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return String(time);
  const utc = preferences.utc;
  const of = (local: number, other: number) => (utc ? other : local);
  const date = [
    part(of(at.getFullYear(), at.getUTCFullYear()), 4),
    part(of(at.getMonth(), at.getUTCMonth()) + 1),
    part(of(at.getDate(), at.getUTCDate())),
  ].join("-");
  const clock = [
    part(of(at.getHours(), at.getUTCHours())),
    part(of(at.getMinutes(), at.getUTCMinutes())),
    part(of(at.getSeconds(), at.getUTCSeconds())),
  ].join(":");
  const rest = milliseconds ? `.${part(at.getUTCMilliseconds(), 3)}` : "";
  return `${date} ${clock}${rest}${utc ? "Z" : ""}`;
}

/** `3 m ago`; what is in the future is `now`. */
export function ago(time: string | number, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - new Date(time).getTime()) / 1000));
  if (seconds < 1) return "now";
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["m", 60],
  ] as const) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${seconds} s ago`;
}

/** Of nanoseconds: `1.2 ms`. */
export function span(nanoseconds: number): string {
  for (const [unit, size] of [
    ["d", 86_400e9],
    ["h", 3_600e9],
    ["min", 60e9],
    ["s", 1e9],
    ["ms", 1e6],
    ["µs", 1e3],
  ] as const) {
    if (nanoseconds >= size) return `${rounded(nanoseconds / size)} ${unit}`;
  }
  return `${nanoseconds} ns`;
}

/** `12.3 MiB`. */
export function bytes(count: number): string {
  for (const [unit, size] of [
    ["TiB", 2 ** 40],
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const) {
    if (count >= size) return `${rounded(count / size)} ${unit}`;
  }
  return `${count} B`;
}

/** Made once: to make one for each number takes longer than all the rest of a row. */
const separated = new Intl.NumberFormat("en-US");

/** `1,234,567`: exact, with separators. */
export function exact(count: number): string {
  return separated.format(count);
}

function rounded(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
