import { describe, expect, it } from "vitest";
import { GONE, HEADER, locate, stepOf } from "./active";

const rows = ["a", "b", "c", "d"];
const keyOf = (row: string) => row;

describe("where somebody is", () => {
  it("is where the row is, wherever it went", () => {
    expect(locate(rows, keyOf, { key: "c", index: 2 })).toBe(2);
    expect(locate(["x", "y", ...rows], keyOf, { key: "c", index: 2 })).toBe(4);
    expect(locate(rows, keyOf, { key: "a", index: 900 })).toBe(0);
    expect(locate(rows, keyOf, { key: "a", index: 3 })).toBe(0);
    expect(locate(rows, keyOf, { key: "gone", index: 1 })).toBe(GONE);
    expect(locate([], keyOf, { key: "a", index: 0 })).toBe(GONE);
    expect(locate(rows, keyOf, { key: "", index: -1 })).toBe(HEADER);
  });

  it("goes by the keys of grids", () => {
    const key = (key: string, ctrlKey = false) => stepOf({ key, ctrlKey, metaKey: false }, 20);
    expect(key("PageUp")).toEqual({ rows: -20, columns: 0 });
    expect(key("Home")).toEqual({ rows: 0, columns: -Infinity });
    expect(key("End", true)).toEqual({ rows: Infinity, columns: Infinity });
    expect(key("x")).toBeNull();
  });
});
