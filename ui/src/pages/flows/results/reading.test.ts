import { expect, it } from "vitest";
import { waitsFor, type Reading } from "./reading";

it("nothing moves while somebody reads", () => {
  const idle: Reading = {
    paused: false,
    selected: false,
    scrolled: false,
    focused: false,
    pointed: false,
    pointerMoved: 0,
    rows: true,
  };
  expect(waitsFor(idle, 10_000)).toBe("");
  for (const why of ["paused", "selected", "scrolled", "focused"] as const) {
    expect(waitsFor({ ...idle, [why]: true }, 10_000), why).not.toBe("");
  }
  const pointed = { ...idle, pointed: true, pointerMoved: 9_000 };
  expect(waitsFor(pointed, 10_000)).toContain("pointer");
  expect(waitsFor(pointed, 12_000)).toBe("");
  expect(waitsFor({ ...pointed, rows: false }, 12_000)).toContain("pointer");
});
