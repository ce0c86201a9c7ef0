// Where cards and namespaces are on the map.

import { Graph as Dagre, layout } from "@dagrejs/dagre";
import { VERDICTS } from "../../state/view.svelte";
import type { Edge, Graph } from "./graph";
import { linesOf, type Line, type Route } from "./lines";
import type { Box, Size } from "./viewport";

export interface Plate extends Box {
  cluster: string;
  namespace: string;
}

export interface Picture extends Size {
  cards: Map<string, Box>;
  plates: Plate[];
  lines: Line[];
}

interface Point {
  x: number;
  y: number;
}

const CARD = { width: 188, height: 50 };
/** Between columns of cards: room for lines and their marks. */
const GAP = 140;
/** Between lines of the same ends where they pass a column side by side. */
const BESIDE = 7;
/** Room for a namespace's name above its cards. */
const HEAD = 22;
const PLATE_PADDING = 12;

export function pictureOf(graph: Graph): Picture {
  const dagre = new Dagre({ compound: true, multigraph: false });
  dagre.setGraph({ rankdir: "LR", nodesep: 22, ranksep: GAP, edgesep: 14, marginx: 30, marginy: 30 + HEAD });
  dagre.setDefaultEdgeLabel(() => ({}));
  const plates = new Map<string, { cluster: string; namespace: string; members: string[] }>();
  for (const node of graph.nodes) {
    dagre.setNode(node.id, { ...CARD });
    if (node.kind !== "workload") continue;
    const key = `plate ${node.cluster} ${node.namespace}`;
    const plate = plates.get(key) ?? { cluster: node.cluster, namespace: node.namespace, members: [] };
    plate.members.push(node.id);
    plates.set(key, plate);
  }
  for (const [key, { members }] of plates) {
    dagre.setNode(key, {});
    members.forEach((member) => dagre.setParent(member, key));
  }
  for (const { source, target } of graph.edges) {
    if (source !== target) dagre.setEdge(source.id, target.id, {});
  }
  layout(dagre);

  const cards = new Map<string, Box>();
  const columns = new Set<number>();
  for (const { id } of graph.nodes) {
    const { x = 0, y = 0 } = dagre.node(id) as Partial<Point>;
    columns.add(Math.round(x));
    cards.set(id, { x: x - CARD.width / 2, y: y - CARD.height / 2, ...CARD });
  }
  const routes = graph.edges.map((edge) => route(dagre, edge, cards, columns));
  const placed = [...plates.values()].map(({ cluster, namespace, members }) => ({
    cluster,
    namespace,
    ...around(members.map((member) => cards.get(member)!)),
  }));
  const { width = 0, height = 0 } = dagre.graph() as Partial<Size>;
  return { width, height, cards, plates: placed, lines: linesOf(routes, [...cards.values()]) };
}

/** Where a line has to pass columns of cards that are between its ends. */
function route(dagre: Dagre, edge: Edge, cards: Map<string, Box>, columns: Set<number>): Route {
  const [source, target] = [cards.get(edge.source.id)!, cards.get(edge.target.id)!];
  if (edge.source === edge.target) return { edge, source, target, passes: [] };
  // By verdict: the layout knows one line between two ends.
  const beside = (VERDICTS.indexOf(edge.verdict) - 1) * BESIDE;
  const { points = [] } = dagre.edge(edge.source.id, edge.target.id) as { points?: Point[] };
  const passes = points
    .slice(1, -1)
    .filter(({ x }) => columns.has(Math.round(x)))
    .map(({ x, y }) => ({ x: x - CARD.width / 2, y: y + beside, width: CARD.width, height: 0 }));
  return { edge, source, target, passes };
}

function around(boxes: Box[]): Box {
  const left = Math.min(...boxes.map((box) => box.x)) - PLATE_PADDING;
  const top = Math.min(...boxes.map((box) => box.y)) - PLATE_PADDING - HEAD;
  const right = Math.max(...boxes.map((box) => box.x + box.width)) + PLATE_PADDING;
  const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + PLATE_PADDING;
  return { x: left, y: top, width: right - left, height: bottom - top };
}
