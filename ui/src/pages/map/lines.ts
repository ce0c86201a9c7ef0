// Lines between cards: from side to side, each with a place of its own for its mark.

import { VERDICTS } from "../../state/view.svelte";
import type { Edge } from "./graph";
import type { Box } from "./viewport";

export interface Line {
  edge: Edge;
  /** Of SVG. */
  path: string;
  /** Where its mark is. */
  mark: Point;
}

export interface Route {
  edge: Edge;
  source: Box;
  target: Box;
  /** Columns to cross, from the source on. */
  passes: Box[];
}

interface Point {
  x: number;
  y: number;
}

/** A curve that leaves and arrives horizontally. */
type Curve = readonly [from: Point, to: Point];

/** How large marks are, with some room around them. */
const MARK = { width: 42, height: 19 };
/** Where on a curve a mark may be, the best first. */
const PLACES = [0.5, 0.32, 0.68, 0.2, 0.8, 0.41, 0.59];
/** Most room between the places where two lines leave a card. */
const APART = 13;
/** Lines do not leave a card at its corners. */
const CORNER = 8;

export function linesOf(routes: readonly Route[], cards: readonly Box[]): Line[] {
  const [leaves, arrives] = [ports(routes, "source"), ports(routes, "target")];
  const taken: Point[] = [];
  return routes.map((route) => {
    if (route.source === route.target) return loop(route);
    const curves = curvesOf(route, leaves.get(route)!, arrives.get(route)!);
    const mark = free(curves, taken, cards);
    taken.push(mark);
    return { edge: route.edge, path: pathOf(curves), mark };
  });
}

/** Where each line leaves or arrives: by the heights of where they come from, so that they do not cross at the card. */
function ports(routes: readonly Route[], end: "source" | "target"): Map<Route, Point> {
  const sides = new Map<string, Route[]>();
  for (const route of routes) {
    if (route.source === route.target) continue;
    const card = route[end];
    const key = `${card.x} ${card.y} ${toTheRight(route, end)}`;
    sides.set(key, [...(sides.get(key) ?? []), route]);
  }
  const found = new Map<Route, Point>();
  for (const side of sides.values()) {
    const sorted = [...side].sort(
      (a, b) =>
        next(a, end) - next(b, end) || VERDICTS.indexOf(a.edge.verdict) - VERDICTS.indexOf(b.edge.verdict),
    );
    sorted.forEach((route, index) => {
      const card = route[end];
      const apart = Math.min(APART, (card.height - 2 * CORNER) / Math.max(1, sorted.length - 1));
      found.set(route, {
        x: toTheRight(route, end) ? card.x + card.width : card.x,
        y: card.y + card.height / 2 + (index - (sorted.length - 1) / 2) * apart,
      });
    });
  }
  return found;
}

/** Whether a line is at the right side of the card at one of its ends. */
function toTheRight({ source, target }: Route, end: "source" | "target"): boolean {
  return end === "source" ? target.x > source.x : source.x > target.x;
}

/** The height that a line goes to, or comes from. */
function next({ source, target, passes }: Route, end: "source" | "target"): number {
  const box = end === "source" ? (passes[0] ?? target) : (passes.at(-1) ?? source);
  return box.y + box.height / 2;
}

function curvesOf(route: Route, from: Point, to: Point): Curve[] {
  const forward = route.target.x > route.source.x;
  const curves: Curve[] = [];
  let begin = from;
  for (const { x, y, width } of route.passes) {
    const [first, second] = forward ? [x, x + width] : [x + width, x];
    curves.push([begin, { x: first, y }]);
    begin = { x: second, y };
  }
  return [...curves, [begin, to]];
}

function pathOf(curves: readonly Curve[]): string {
  const words = curves.map(([from, to], index) => {
    const middle = (from.x + to.x) / 2;
    const begin = index === 0 ? `M${at(from)}` : `L${at(from)}`;
    return `${begin}C${at({ x: middle, y: from.y })} ${at({ x: middle, y: to.y })} ${at(to)}`;
  });
  return words.join("");
}

/** A place for a mark where no card and no other mark is; the best one if there is none. */
function free(curves: readonly Curve[], taken: readonly Point[], cards: readonly Box[]): Point {
  const candidates = PLACES.flatMap((place) => curves.map((curve) => on(curve, place)));
  const clear = (point: Point) =>
    taken.every(
      (other) => Math.abs(other.x - point.x) >= MARK.width || Math.abs(other.y - point.y) >= MARK.height,
    ) &&
    cards.every(
      ({ x, y, width, height }) =>
        point.x + MARK.width / 2 < x ||
        point.x - MARK.width / 2 > x + width ||
        point.y + MARK.height / 2 < y ||
        point.y - MARK.height / 2 > y + height,
    );
  return candidates.find(clear) ?? candidates[0]!;
}

/** The point of a curve at 0 (its begin) to 1 (its end). */
function on([from, to]: Curve, place: number): Point {
  const rest = 1 - place;
  const middle = (from.x + to.x) / 2;
  const weights = [rest ** 3, 3 * rest ** 2 * place, 3 * rest * place ** 2, place ** 3] as const;
  return {
    x: weights[0] * from.x + (weights[1] + weights[2]) * middle + weights[3] * to.x,
    y: (weights[0] + weights[1]) * from.y + (weights[2] + weights[3]) * to.y,
  };
}

/** From an end to itself: out of the card's right side and back. */
function loop({ edge, source }: Route): Line {
  const right = source.x + source.width;
  const middle = source.y + source.height / 2;
  // One for each verdict, the worst outside.
  const out = right + 70 - 18 * VERDICTS.indexOf(edge.verdict);
  const [top, bottom] = [middle - 15, middle + 15];
  const path = `M${right} ${top}C${out} ${top - 8} ${out} ${bottom + 8} ${right} ${bottom}`;
  return {
    edge,
    path,
    mark: { x: right + (out - right) * 0.75, y: middle + 18 * (1 - VERDICTS.indexOf(edge.verdict)) },
  };
}

function at({ x, y }: Point): string {
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
}
