import { beforeEach, describe, expect, it } from "vitest";
import { preferences } from "../../../state/preferences.svelte";
import { buckets, ceiling, short, spoken, stack, tickText, ticks, width } from "./bars";
import { bucketsOf, type Histogram } from "./counts.svelte";

const times = ["2026-11-28T23:58:00.000000000Z", "2026-11-28T23:59:00Z", "2026-11-29T00:00:00Z"];
const total = { count: 0, bytes: 0, reply_bytes: 0 };
const series = (verdict: string, count: number[]) => ({
  key: { verdict },
  total,
  count,
  bytes: [],
  reply_bytes: [],
});
const change = (bucket: number) => ({
  bucket,
  time: times[bucket]!,
  cluster: "c",
  kind: "NetworkPolicy",
  namespace: "shop",
  name: "web",
  what: "changed" as const,
});
const answer = {
  step_seconds: 60,
  times,
  series: [series("allow", [5, 0, 100]), series("deny", [2, 0, 1])],
  gaps: [{ first_bucket: 1, last_bucket: 2, count: 7 }],
  policy_changes: [change(1)],
} as unknown as Histogram;

describe("a histogram", () => {
  beforeEach(() => preferences.setUtc(true));

  it("stacks what is shown", () => {
    const found = buckets(answer);
    expect(found.map(({ lost }) => lost)).toEqual([0, 7, 7]);
    expect(stack(found[0]!, ["deny", "audit", "allow"])).toEqual([
      { verdict: "deny", low: 0, high: 2 },
      { verdict: "allow", low: 2, high: 7 },
    ]);
    expect([ceiling(found, ["deny"]), ceiling(found, ["deny", "allow"]), ceiling([], [])]).toEqual([
      2, 200, 1,
    ]);
  });

  it("has buckets of whole minutes where there are enough of them", () => {
    const minutes = (count: number) => bucketsOf({ from: 0, to: count * 60_000 });
    expect([minutes(5), minutes(30), minutes(60), minutes(6_000)]).toEqual([80, 30, 60, 80]);
    expect(bucketsOf(undefined)).toBe(80);
  });

  it("says what is in buckets", () => {
    expect(spoken(buckets(answer).slice(0, 2), ["deny"])).toBe(
      "2026-11-28 23:58:00Z to 2026-11-29 00:00:00Z: 2 denied, some are lost, policy shop/web changed",
    );
  });

  it("has times below it, with the date where it changes", () => {
    const found = buckets(answer);
    expect(ticks(found, 3)).toEqual([1, 2]);
    expect(tickText(found[1]!.from, undefined, 60_000)).toBe("2026-11-28 23:59");
    expect(tickText(found[1]!.from, found[0]!.from, 60_000)).toBe("23:59");
    expect(tickText(found[2]!.from, found[1]!.from, 60_000)).toBe("2026-11-29");
    expect(ticks([], 5)).toEqual([]);
  });

  it("shortens numbers of scales", () => {
    expect([short(7), short(1_500), short(20_000_000)]).toEqual(["7", "1.5 k", "20 M"]);
    expect([width(60), width(5), width(7_200), width(0.1), width(90)]).toEqual([
      "1 min",
      "5 s",
      "2 h",
      "100 ms",
      "90 s",
    ]);
  });
});
