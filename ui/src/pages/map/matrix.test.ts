import { describe, expect, it } from "vitest";
import { graphOf } from "./graph";
import { cellsOf, nextCell } from "./matrix";
import { group } from "./testing";

const nothing = { all: false, namespaces: new Set<string>() };

describe("the matrix", () => {
  const matrix = cellsOf(
    graphOf(
      [
        group("a/x", "b/y", { verdict: "allow", count: 1_000 }),
        group("a/x", "b/y", { count: 3 }),
        group("a/x", "c/z"),
        group("b/y", "c/z", { verdict: "audit" }),
      ],
      nothing,
    ),
  );

  it("has sources down, destinations across, and cells where flows are", () => {
    expect(matrix.sources.map(({ name }) => name)).toEqual(["x", "y"]);
    expect(matrix.targets.map(({ name }) => name)).toEqual(["y", "z"]);
    expect(matrix.cells.map(({ row, column, worst, count }) => [row, column, worst, count])).toEqual([
      [0, 0, "deny", 1_003],
      [0, 1, "deny", 1],
      [1, 1, "audit", 1],
    ]);
    expect(matrix.cells[0]!.heat).toBeGreaterThan(matrix.cells[1]!.heat);
  });

  it("goes by arrow keys to cells with flows only", () => {
    const [first, second, third] = matrix.cells;
    expect(nextCell(matrix.cells, first!, "ArrowRight")).toBe(second);
    expect(nextCell(matrix.cells, first!, "ArrowDown")).toBe(third);
    expect(nextCell(matrix.cells, third!, "ArrowUp")).toBe(second);
    expect(nextCell(matrix.cells, third!, "ArrowRight")).toBe(undefined);
    expect(nextCell(matrix.cells, second!, "Home")).toBe(first);
  });
});
