// Columns of a grid: which, in which order, how wide. All of it values, so that the address can hold them.

export interface Column<Row> {
  id: string;
  title: string;
  /** In pixels, until somebody pulls at it. */
  width: number;
  /** Takes its share of the width that is left. */
  grows?: boolean;
  /** Numbers stand at the right. */
  number?: boolean;
  /** What it is, for whoever points at the title. */
  doc?: string;
  /** Rows can be put in its order. */
  sorts?: boolean;
  /** All of the value as text: what is read out, copied and shown where it does not fit. */
  text: (row: Row) => string;
}

/** Widths that somebody chose, by column. */
export type Widths = Readonly<Record<string, number>>;

export const NARROWEST = 48;
export const WIDEST = 1_200;

export function widthOf(column: Column<never>, widths: Widths): number {
  const chosen = widths[column.id];
  return chosen === undefined ? column.width : Math.round(Math.min(WIDEST, Math.max(NARROWEST, chosen)));
}

/** `grid-template-columns` of header and rows. */
export function template(columns: readonly Column<never>[], widths: Widths): string {
  const tracks = columns.map((column) => {
    const width = widthOf(column, widths);
    return column.grows && widths[column.id] === undefined
      ? `minmax(${width}px, ${column.width}fr)`
      : `${width}px`;
  });
  // Where no column grows, what is left stays empty.
  return columns.some((column) => column.grows && widths[column.id] === undefined)
    ? tracks.join(" ")
    : `${tracks.join(" ")} 1fr`;
}

/** The least width of a row. */
export function leastWidth(columns: readonly Column<never>[], widths: Widths): number {
  return columns.reduce((sum, column) => sum + widthOf(column, widths), 0);
}

/** `ids` with one of them at another place. */
export function moved(ids: readonly string[], id: string, to: number): string[] {
  const others = ids.filter((other) => other !== id);
  if (others.length === ids.length) return [...ids];
  const place = Math.min(others.length, Math.max(0, to));
  return [...others.slice(0, place), id, ...others.slice(place)];
}

/** Widths as they are kept: those that are no widths are left out. */
export function widthsOf(text: string | null): Record<string, number> {
  try {
    const kept: unknown = JSON.parse(text ?? "{}");
    if (typeof kept !== "object" || kept === null) return {};
    const widths = Object.entries(kept).filter(([, width]) => Number.isFinite(width) && width > 0);
    return Object.fromEntries(widths) as Record<string, number>;
  } catch {
    return {};
  }
}
