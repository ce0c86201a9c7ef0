import { describe, expect, it } from "vitest";
import { graphOf } from "./graph";
import { pictureOf } from "./layout";
import { group } from "./testing";
import type { Box } from "./viewport";

const nothing = { all: false, namespaces: new Set<string>() };

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Many ends with cycles, ends outside, edges to themselves, and three verdicts. */
const groups = Array.from({ length: 120 }, (_, index) =>
  group(
    `ns${index % 5}/w${(index * 7) % 31}`,
    index % 11 === 0 ? "world" : `ns${(index * 3) % 5}/w${(index * 5) % 31}`,
    { verdict: ["deny", "audit", "allow"][index % 3] },
  ),
);
groups.push(group("ns0/w0", "ns0/w0"));

describe("the picture", () => {
  const graph = graphOf(groups, nothing);
  const picture = pictureOf(graph);

  it("has a place of its own for each card, within its namespace and within the picture", () => {
    const cards = [...picture.cards.values()];
    expect(cards).toHaveLength(graph.nodes.length);
    cards.forEach((card, index) => {
      expect(cards.slice(index + 1).some((other) => overlap(card, other))).toBe(false);
      expect(card.x >= 0 && card.y >= 0 && card.x + card.width <= picture.width).toBe(true);
      expect(card.y + card.height <= picture.height).toBe(true);
    });
    for (const node of graph.nodes) {
      const card = picture.cards.get(node.id)!;
      for (const plate of picture.plates) {
        expect(overlap(card, plate)).toBe(node.kind === "workload" && node.namespace === plate.namespace);
      }
    }
  });

  it("does not draw one namespace over another", () => {
    const few = ["a/x", "b/y", "c/z"].flatMap((from) => [group(from, "d/w"), group(from, "e/v")]);
    for (const { plates } of [picture, pictureOf(graphOf(few, nothing))]) {
      plates.forEach((plate, index) => {
        expect(plates.slice(index + 1).filter((other) => overlap(plate, other))).toEqual([]);
      });
    }
  });

  it("has a line for each edge, that ends at the sides of its cards", () => {
    expect(picture.lines.map(({ edge }) => edge.id)).toEqual(graph.edges.map(({ id }) => id));
    for (const { edge, path, mark } of picture.lines) {
      expect(path).not.toContain("NaN");
      expect(Number.isFinite(mark.x + mark.y)).toBe(true);
      const [x, y] = path.slice(1).split(/[ C]/).map(Number) as [number, number];
      const card = picture.cards.get(edge.source.id)!;
      expect([card.x, card.x + card.width].some((side) => Math.abs(side - x) < 0.1)).toBe(true);
      expect(y > card.y && y < card.y + card.height).toBe(true);
    }
  });

  it("does not draw two verdicts of the same ends on each other", () => {
    const both = graphOf(
      [
        group("a/x", "b/y"),
        group("a/x", "b/y", { verdict: "allow" }),
        group("a/x", "b/y", { verdict: "audit" }),
      ],
      nothing,
    );
    const { lines } = pictureOf(both);
    expect(new Set(lines.map(({ path }) => path)).size).toBe(3);
    expect(new Set(lines.map(({ mark }) => `${mark.x} ${mark.y}`)).size).toBe(3);
  });

  it("is nothing for nobody", () => {
    expect(pictureOf(graphOf([], nothing)).lines).toEqual([]);
  });
});
