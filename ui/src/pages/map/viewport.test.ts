import { describe, expect, it } from "vitest";
import { begin, fit, nearest, reveal, zoom } from "./viewport";

const window = { width: 1000, height: 500 };

describe("what is seen", () => {
  it("is the whole picture in the middle, and no larger than it is", () => {
    expect(fit({ width: 200, height: 100 }, window)).toEqual({ scale: 1, x: 400, y: 200 });
    const { scale, x, y } = fit({ width: 4000, height: 100 }, window);
    expect(scale).toBeCloseTo(0.238);
    expect([x, y].map(Math.round)).toEqual([24, 238]);
    // Not smaller than one can read, from its top.
    expect(begin({ width: 400, height: 9000 }, window)).toMatchObject({ scale: 0.6, y: 24 });
  });

  it("keeps the point that is zoomed at, within bounds", () => {
    const before = { scale: 1, x: 10, y: 20 };
    const after = zoom(before, 2, 100, 200);
    expect((100 - after.x) / after.scale).toBeCloseTo(100 - before.x);
    expect((200 - after.y) / after.scale).toBeCloseTo(200 - before.y);
    expect(zoom(before, 100, 0, 0).scale).toBe(2.5);
  });

  it("moves no more than needed to what is looked for", () => {
    const viewport = { scale: 1, x: 0, y: 0 };
    expect(reveal(viewport, { x: 400, y: 200, width: 100, height: 50 }, window)).toEqual(viewport);
    expect(reveal(viewport, { x: 1200, y: 200, width: 100, height: 50 }, window)).toMatchObject({
      x: -340,
      y: 0,
    });
    expect(reveal(viewport, { x: -50, y: -10, width: 100, height: 50 }, window)).toMatchObject({
      x: 90,
      y: 50,
    });
  });

  it("goes to the next card in the direction of an arrow", () => {
    const box = (x: number, y: number) => ({ x, y, width: 10, height: 10 });
    const boxes = new Map([
      ["here", box(0, 0)],
      ["right", box(100, 5)],
      ["right and down", box(60, 60)],
      ["down", box(5, 90)],
    ]);
    const from = boxes.get("here")!;
    expect(nearest(boxes, from, "ArrowRight")).toBe("right");
    expect(nearest(boxes, from, "ArrowDown")).toBe("down");
    expect(nearest(boxes, from, "ArrowLeft")).toBe(undefined);
  });
});
