import { expect, it } from "vitest";
import { Slots } from "./slots";

it("a row keeps its element, a new one takes that of one that is gone", () => {
  const slots = new Slots();
  expect(slots.assign(["a", "b", "c"])).toEqual([0, 1, 2]);
  expect(slots.assign(["b", "c", "d"])).toEqual([1, 2, 0]);
  expect(slots.assign(["a", "b", "c", "d"])).toEqual([3, 1, 2, 0]);
  const jumped = slots.assign(["w", "x", "y", "z"]);
  expect([...jumped].sort()).toEqual([0, 1, 2, 3]);
  expect(slots.assign(["y"])).toEqual([jumped[2]]);
  expect(new Set(slots.assign(["y", "k", "l"])).size).toBe(3);
});
