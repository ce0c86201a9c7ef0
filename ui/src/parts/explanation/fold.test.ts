import { expect, it } from "vitest";
import { folded } from "./fold";

it("folds what nothing is said of, until somebody opens it", () => {
  expect(folded(0, new Map(), new Set())).toEqual([]);
  expect(folded(80, new Map(), new Set())).toEqual([{ first: 0, last: 79, isFolded: false }]);
  const marks = new Map([[50, 1]]);
  const parts = folded(200, marks, new Set());
  expect(parts).toEqual([
    { first: 0, last: 4, isFolded: false },
    { first: 5, last: 45, isFolded: true },
    { first: 46, last: 54, isFolded: false },
    { first: 55, last: 199, isFolded: true },
  ]);
  expect(folded(200, marks, new Set([55]))[3]).toEqual({ first: 55, last: 199, isFolded: false });
  // Each line is in one part.
  expect(parts.reduce((sum, part) => sum + part.last - part.first + 1, 0)).toBe(200);
});
