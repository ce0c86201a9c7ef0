// What part of the map is seen: moved, zoomed, and brought to what somebody looks for.

export interface Viewport {
  x: number;
  y: number;
  scale: number;
}

export interface Size {
  width: number;
  height: number;
}

export interface Box extends Size {
  x: number;
  y: number;
}

const SMALLEST = 0.15;
const LARGEST = 2.5;
const READABLE = 0.6;
const MARGIN = 24;
/** What is seen of a box that was outside: not just its edge. */
const INSIDE = 40;

/** All of a picture, no larger than it is, in the middle. */
export function fit(picture: Size, window: Size): Viewport {
  const wanted = Math.min(
    1,
    (window.width - 2 * MARGIN) / Math.max(1, picture.width),
    (window.height - 2 * MARGIN) / Math.max(1, picture.height),
  );
  const scale = bounded(wanted);
  return {
    scale,
    x: (window.width - picture.width * scale) / 2,
    y: (window.height - picture.height * scale) / 2,
  };
}

/** As `fit`, but no smaller than one can read: then the top of the picture. */
export function begin(picture: Size, window: Size): Viewport {
  const whole = fit(picture, window);
  if (whole.scale >= READABLE) return whole;
  const x = (window.width - picture.width * READABLE) / 2;
  return { scale: READABLE, x: Math.max(MARGIN, x), y: Math.max(MARGIN, whole.y) };
}

/** Larger or smaller by a factor, with what is at a point of the window staying there. */
export function zoom(viewport: Viewport, factor: number, x: number, y: number): Viewport {
  const scale = bounded(viewport.scale * factor);
  const by = scale / viewport.scale;
  return { scale, x: x - (x - viewport.x) * by, y: y - (y - viewport.y) * by };
}

/** Moved no further than needed until a box of the picture is seen. */
export function reveal(viewport: Viewport, box: Box, window: Size): Viewport {
  const shift = (begin: number, length: number, available: number) => {
    const margin = Math.min(INSIDE, Math.max(0, (available - length) / 2));
    if (begin < margin) return margin - begin;
    if (begin + length > available - margin) return available - margin - begin - length;
    return 0;
  };
  const { scale } = viewport;
  return {
    scale,
    x: viewport.x + shift(viewport.x + box.x * scale, box.width * scale, window.width),
    y: viewport.y + shift(viewport.y + box.y * scale, box.height * scale, window.height),
  };
}

/** The box nearest to another in the direction of an arrow key; undefined if there is none. */
export function nearest<Key>(
  boxes: ReadonlyMap<Key, Box>,
  from: Box,
  direction: "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown",
): Key | undefined {
  const middle = (box: Box) => [box.x + box.width / 2, box.y + box.height / 2] as const;
  const [fromX, fromY] = middle(from);
  let best: { key: Key; distance: number } | undefined;
  for (const [key, box] of boxes) {
    const [x, y] = middle(box);
    const [along, across] = {
      ArrowLeft: [fromX - x, y - fromY],
      ArrowRight: [x - fromX, y - fromY],
      ArrowUp: [fromY - y, x - fromX],
      ArrowDown: [y - fromY, x - fromX],
    }[direction] as [number, number];
    // What is beside weighs more than what is ahead, so that one stays in a row or column.
    if (along <= 1) continue;
    const distance = along + 2 * Math.abs(across);
    if (!best || distance < best.distance) best = { key, distance };
  }
  return best?.key;
}

function bounded(scale: number): number {
  return Math.min(LARGEST, Math.max(SMALLEST, scale));
}
