import { describe, expect, it } from "vitest";
import { bars, overTime, planOf, stacked } from "./chart";

const columns = [
  { name: "t", type: "timestamp(ns, UTC)" },
  { name: "verdict", type: "text" },
  { name: "node", type: "text" },
  { name: "n", type: "uint64" },
  { name: "rate", type: "float64" },
];
const nothing = { kind: "", x: "", y: "", by: "" };

describe("plans", () => {
  it("fit what there is", () => {
    expect(planOf(columns, nothing)).toMatchObject({
      kind: "lines",
      x: "t",
      y: "n",
      by: "verdict",
      unknown: [],
    });
    expect(planOf(columns.slice(1), nothing)).toMatchObject({ kind: "bars", x: "", y: "n", kinds: ["bars"] });
    expect(planOf(columns.slice(2), nothing)).toMatchObject({ kind: "bars", x: "node" });
    expect(planOf(columns.slice(3), nothing)).toBe(undefined);
    expect(planOf(columns.slice(0, 3), nothing)).toBe(undefined);
  });

  it("are as somebody wants, and say what is not there", () => {
    expect(planOf(columns, { kind: "columns", x: "", y: "rate", by: "node" })).toMatchObject({
      ...{ kind: "columns", y: "rate", by: "node" },
    });
    expect(planOf(columns, { ...nothing, by: "-" })!.by).toBe("");
    const plan = planOf(columns, { kind: "pie", x: "gone", y: "verdict", by: "" })!;
    expect(plan.unknown).toEqual(["pie", "gone", "verdict"]);
    expect([plan.kind, plan.x, plan.y]).toEqual(["lines", "t", "n"]);
  });
});

const row = (minute: number, verdict: string | null, n: unknown, node = "a") => ({
  ...{ t: `2026-11-28T14:0${minute}:00.000000000Z`, verdict, node, n },
});

describe("numbers over time", () => {
  const plan = planOf(columns, nothing)!;

  it("are series by the largest sums, with nothing where there is no row", () => {
    const rows = [row(2, "deny", 1), row(1, "allow", 5), row(1, "deny", 2), row(3, null, 100)];
    const time = overTime(rows, plan);
    expect(time.times.map((second) => second % 3600)).toEqual([60, 120, 180]);
    expect(time.series).toEqual([
      { name: "null", values: [null, null, 100] },
      { name: "allow", values: [5, null, null] },
      { name: "deny", values: [2, 1, null] },
    ]);
    expect([time.more, time.summed]).toEqual([0, false]);
    expect(stacked(time.series)[2]!.values).toEqual([7, 1, 100]);
  });

  it("sum rows of one place and say so, and leave out what is no number", () => {
    const time = overTime([row(1, "deny", 1), row(1, "deny", 2, "b"), row(1, "deny", "NaN")], plan);
    expect(time.series).toEqual([{ name: "deny", values: [3] }]);
    expect(time.summed).toBe(true);
  });

  it("are no more series than one can tell apart", () => {
    const rows = Array.from({ length: 20 }, (_, index) => row(1, `v${index}`, index));
    const time = overTime(rows, plan);
    expect([time.series.length, time.more, time.series[0]!.name]).toEqual([12, 8, "v19"]);
  });
});

it("draws bars from the largest down", () => {
  const plan = planOf(columns.slice(1), nothing)!;
  const rows = [row(1, "deny", 1), row(2, "deny", 2), row(1, "allow", 7, "b"), row(1, null, -9)];
  expect(bars(rows, plan)).toEqual({
    bars: [
      { label: "null · a", value: -9 },
      { label: "allow · b", value: 7 },
      { label: "deny · a", value: 3 },
    ],
    more: 0,
  });
});
