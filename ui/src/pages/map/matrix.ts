// The graph as rows of sources and columns of destinations.

import { VERDICTS, type VerdictName } from "../../state/view.svelte";
import type { Edge, Graph, Node } from "./graph";

export interface Cell {
  row: number;
  column: number;
  /** One for each verdict that there is, the worst first. */
  edges: Edge[];
  count: number;
  worst: VerdictName;
  /** How strong its colour is, in percent: by the logarithm of the count. */
  heat: number;
}

export interface Matrix {
  sources: Node[];
  targets: Node[];
  /** Those with flows, by rows and then columns. */
  cells: Cell[];
}

/** Text must stay readable on the strongest colour. */
const HEAT = { least: 12, most: 42 };

export function cellsOf(graph: Graph): Matrix {
  const sources = graph.nodes.filter((node) => graph.edges.some(({ source }) => source.id === node.id));
  const targets = graph.nodes.filter((node) => graph.edges.some(({ target }) => target.id === node.id));
  const rows = new Map(sources.map((node, row) => [node.id, row]));
  const columns = new Map(targets.map((node, column) => [node.id, column]));
  const cells = new Map<string, Cell>();
  for (const verdict of VERDICTS) {
    for (const edge of graph.edges.filter((candidate) => candidate.verdict === verdict)) {
      const row = rows.get(edge.source.id)!;
      const column = columns.get(edge.target.id)!;
      const key = `${row} ${column}`;
      const cell = cells.get(key) ?? { row, column, edges: [], count: 0, worst: verdict, heat: 0 };
      cell.edges.push(edge);
      cell.count += edge.count;
      cells.set(key, cell);
    }
  }
  const most = Math.log1p(Math.max(1, ...[...cells.values()].map(({ count }) => count)));
  for (const cell of cells.values()) {
    cell.heat = Math.round(HEAT.least + (HEAT.most - HEAT.least) * (Math.log1p(cell.count) / most));
  }
  const sorted = [...cells.values()].sort((a, b) => a.row - b.row || a.column - b.column);
  return { sources, targets, cells: sorted };
}

/** Where an arrow key goes from a cell: the next one with flows in its row, its column, or the nearest of the next row. */
export function nextCell(cells: readonly Cell[], from: Cell, key: string): Cell | undefined {
  const inRow = cells.filter(({ row }) => row === from.row);
  switch (key) {
    case "ArrowLeft":
      return inRow.findLast(({ column }) => column < from.column);
    case "ArrowRight":
      return inRow.find(({ column }) => column > from.column);
    case "Home":
      return inRow[0];
    case "End":
      return inRow.at(-1);
    case "ArrowUp":
    case "ArrowDown": {
      const beyond = (row: number) => (key === "ArrowUp" ? row < from.row : row > from.row);
      const far = (cell: Cell) => Math.abs(cell.row - from.row);
      const aside = (cell: Cell) => Math.abs(cell.column - from.column);
      return cells.filter(({ row }) => beyond(row)).sort((a, b) => far(a) - far(b) || aside(a) - aside(b))[0];
    }
    default:
      return undefined;
  }
}
