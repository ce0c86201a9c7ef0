// From the answer to what is drawn: stacks of bars, a scale that people read, what is to be said of a bucket.

import { exact, moment } from "../../../state/time";
import { VERDICTS, type VerdictName } from "../../../state/view.svelte";
import type { Histogram } from "./counts.svelte";

export type Counted = Record<VerdictName, number>;

/** One bucket of time. */
export interface Bucket {
  from: number;
  to: number;
  counts: Counted;
  /** Verdicts that are in no row, of this bucket or of others near it. */
  lost: number;
  changes: Histogram["policy_changes"];
}

export function buckets(answer: Histogram): Bucket[] {
  const step = answer.step_seconds * 1_000;
  const found: Bucket[] = answer.times.map((time) => {
    const from = Date.parse(time);
    return { from, to: from + step, counts: { deny: 0, audit: 0, allow: 0 }, lost: 0, changes: [] };
  });
  for (const { key, count } of answer.series) {
    const verdict = VERDICTS.find((name) => name === key.verdict);
    if (verdict) count.forEach((value, index) => (found[index]!.counts[verdict] += value));
  }
  for (const gap of answer.gaps) {
    for (let index = gap.first_bucket; index <= gap.last_bucket; index += 1) {
      const bucket = found[index];
      if (bucket) bucket.lost += gap.count;
    }
  }
  for (const change of answer.policy_changes) found[change.bucket]?.changes.push(change);
  return found;
}

/** The stack of a bucket from below: what one came for stands on the ground. */
export function stack(
  { counts }: Bucket,
  verdicts: readonly VerdictName[],
): { verdict: VerdictName; low: number; high: number }[] {
  let low = 0;
  return verdicts
    .filter((verdict) => counts[verdict] > 0)
    .map((verdict) => {
      const high = low + counts[verdict];
      const part = { verdict, low, high };
      low = high;
      return part;
    });
}

/** The top of the scale: 1, 2 or 5 times a power of ten, at least the largest stack. */
export function ceiling(found: readonly Bucket[], verdicts: readonly VerdictName[]): number {
  const sums = found.map(({ counts }) => verdicts.reduce((sum, verdict) => sum + counts[verdict], 0));
  const largest = sums.reduce((most, sum) => Math.max(most, sum), 1);
  const power = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= largest) ?? largest;
}

/** `1.2 k`, for a scale only. */
export function short(count: number): string {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return String(count);
}

/** Which buckets get a time below them, about so many. */
export function ticks(found: readonly Bucket[], about: number): number[] {
  const [first] = found;
  if (!first || about < 1) return [];
  const step = first.to - first.from;
  const widths = [1, 5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];
  const least = (step * found.length) / about;
  const width =
    (widths.find((seconds) => seconds * 1_000 >= least) ?? Math.ceil(least / 86_400_000) * 86_400) * 1_000;
  const offset = -new Date(first.from).getTimezoneOffset() * 60_000;
  const slot = (time: number) => Math.floor((time + (moment(time).endsWith("Z") ? 0 : offset)) / width);
  return found.flatMap((bucket, index) => {
    const before = found[index - 1];
    return before && slot(before.from) !== slot(bucket.from) ? [index] : [];
  });
}

/** `14:05`, and the date where it is another than before. */
export function tickText(time: number, before: number | undefined, step: number): string {
  const text = moment(time, false);
  const date = text.slice(0, 10);
  const clock = text.slice(11, step < 60_000 ? 19 : 16);
  const sameDay = before !== undefined && moment(before, false).slice(0, 10) === date;
  if (sameDay) return clock;
  return clock === "00:00" ? date : `${date} ${clock}`;
}

/** `2 m`: how long a bucket is. */
export function width(seconds: number): string {
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
  ] as const) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size} ${unit}`;
  }
  return seconds >= 1 ? `${seconds} s` : `${seconds * 1_000} ms`;
}

const WORDS: Record<VerdictName, string> = { deny: "denied", audit: "would be denied", allow: "allowed" };

/** One or several buckets in words. */
export function spoken(chosen: readonly Bucket[], verdicts: readonly VerdictName[]): string {
  const [first, last] = [chosen[0], chosen.at(-1)];
  if (!first || !last) return "";
  const sum = (verdict: VerdictName) => chosen.reduce((all, { counts }) => all + counts[verdict], 0);
  const parts = verdicts.map((verdict) => `${exact(sum(verdict))} ${WORDS[verdict]}`);
  if (chosen.some(({ lost }) => lost > 0)) parts.push("some are lost");
  const changes = chosen.flatMap((bucket) => bucket.changes);
  if (changes.length > 0) parts.push(changeText(changes));
  return `${moment(first.from, false)} to ${moment(last.to, false)}: ${parts.join(", ")}`;
}

const MOST_CHANGES = 3;

/** `policy shop/web changed`. */
export function changeText(changes: Histogram["policy_changes"]): string {
  const named = changes.slice(0, MOST_CHANGES).map(({ namespace, name, what }) => {
    return `policy ${namespace === "" ? name : `${namespace}/${name}`} ${what}`;
  });
  const more = changes.length - named.length;
  return named.join(", ") + (more > 0 ? ` and ${more} more changes of policies` : "");
}
