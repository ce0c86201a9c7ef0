// Groups of flows as a graph: ends, and for each verdict an edge between two of them.

import { VERDICTS, type VerdictName } from "../../state/view.svelte";
import { endOf, type End, type Group } from "./ends";

export interface Port {
  protocol: string;
  port: number | null;
  count: number;
}

export interface Edge {
  id: string;
  source: Node;
  target: Node;
  verdict: VerdictName;
  /** Verdicts, as everywhere: an allowed connection has one at each end. */
  count: number;
  bytes: number;
  /** Those with the most verdicts first. */
  ports: Port[];
  policies: string[];
  reasons: string[];
}

export interface Node extends End {
  sums: Record<VerdictName, number>;
  /** Workloads in it; 1 for all but namespaces. */
  members: number;
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  clusters: string[];
  namespaces: string[];
  /** Groups with a verdict that is not drawn. */
  unknown: number;
}

export interface Collapsed {
  all: boolean;
  namespaces: ReadonlySet<string>;
}

interface Parts {
  ports: Map<string, Port>;
  policies: Set<string>;
  reasons: Set<string>;
}

/** The graph, in an order that is the same for the same ends, so that a newer answer moves nothing. */
export function graphOf(groups: readonly Group[], collapsed: Collapsed): Graph {
  const nodes = new Map<string, Node>();
  const members = new Map<string, Set<string>>();
  const edges = new Map<string, Edge>();
  const parts = new Map<string, Parts>();
  const isCollapsed = (namespace: string) => collapsed.all || collapsed.namespaces.has(namespace);
  let unknown = 0;

  const nodeOf = (group: Group, side: "source" | "destination"): Node => {
    const end = endOf(group, side, isCollapsed);
    const node = nodes.get(end.id) ?? { ...end, sums: { deny: 0, audit: 0, allow: 0 }, members: 1 };
    nodes.set(end.id, node);
    if (end.kind === "namespace") {
      const within = members.get(end.id) ?? new Set();
      members.set(end.id, within.add(endOf(group, side, () => false).id));
      node.members = within.size;
    }
    return node;
  };

  for (const group of groups) {
    const verdict = VERDICTS.find((known) => known === group.verdict);
    if (!verdict) {
      unknown += 1;
      continue;
    }
    const source = nodeOf(group, "source");
    const target = nodeOf(group, "destination");
    source.sums[verdict] += group.count;
    if (target !== source) target.sums[verdict] += group.count;
    const id = `${verdict} ${source.id} ${target.id}`;
    const edge = edges.get(id) ?? {
      ...{ id, source, target, verdict, count: 0, bytes: 0 },
      ...{ ports: [], policies: [], reasons: [] },
    };
    edges.set(id, edge);
    edge.count += group.count;
    edge.bytes += group.bytes + group.reply_bytes;
    const part = parts.get(id) ?? { ports: new Map(), policies: new Set(), reasons: new Set() };
    parts.set(id, part);
    addPort(part.ports, group);
    if (group.policy) part.policies.add(group.policy);
    if (group.reason) part.reasons.add(group.reason);
  }
  for (const [id, { ports, policies, reasons }] of parts) {
    const edge = edges.get(id)!;
    edge.ports = [...ports.values()].sort((a, b) => b.count - a.count || (a.port ?? 0) - (b.port ?? 0));
    edge.policies = [...policies].sort();
    edge.reasons = [...reasons].sort();
  }
  const all = [...nodes.values()].sort((a, b) => order(a.namespace, b.namespace) || order(a.id, b.id));
  return {
    nodes: all,
    edges: [...edges.values()].sort((a, b) => order(a.id, b.id)),
    clusters: unique(all.map((node) => node.cluster)),
    namespaces: unique(
      groups.flatMap((group) => [podNamespace(group, "source"), podNamespace(group, "destination")]),
    ),
    unknown,
  };
}

/** A node, those that it talks to, and the edges to and from it. */
export function around(graph: Graph, id: string): Graph {
  const edges = graph.edges.filter((edge) => edge.source.id === id || edge.target.id === id);
  const near = new Set([id, ...edges.flatMap((edge) => [edge.source.id, edge.target.id])]);
  return { ...graph, nodes: graph.nodes.filter((node) => near.has(node.id)), edges };
}

/** The others at the edges of a node, each with these edges. */
export function peersOf(graph: Graph, id: string): { peer: Node; edges: Edge[] }[] {
  const peers = new Map<Node, Edge[]>();
  for (const edge of graph.edges) {
    const peer = edge.source.id === id ? edge.target : edge.target.id === id ? edge.source : undefined;
    if (peer && peer.id !== id) peers.set(peer, [...(peers.get(peer) ?? []), edge]);
  }
  return [...peers].map(([peer, edges]) => ({ peer, edges }));
}

/** At most so many nodes: those with the most verdicts, and the edges between them. */
export function largest(graph: Graph, most: number): Graph {
  if (graph.nodes.length <= most) return graph;
  const total = ({ sums }: Node) => sums.deny + sums.audit + sums.allow;
  const kept = new Set([...graph.nodes].sort((a, b) => total(b) - total(a)).slice(0, most));
  return {
    ...graph,
    nodes: graph.nodes.filter((node) => kept.has(node)),
    edges: graph.edges.filter((edge) => kept.has(edge.source) && kept.has(edge.target)),
  };
}

/** `TCP 443`, and of more than `most` how many there are besides. */
export function portWords(ports: readonly Port[], most: number): string {
  const words = ports.slice(0, most).map(({ protocol, port }) => [protocol, port ?? ""].join(" ").trim());
  return words.join(", ") + (ports.length > most ? ` and ${ports.length - most} more` : "");
}

function addPort(ports: Map<string, Port>, group: Group): void {
  const protocol = group.protocol ?? "";
  const key = `${protocol} ${group.destination_port}`;
  const port = ports.get(key) ?? { protocol, port: group.destination_port, count: 0 };
  port.count += group.count;
  ports.set(key, port);
}

function podNamespace(group: Group, side: "source" | "destination"): string {
  return group[`${side}_kind`] === "pod" ? (group[`${side}_namespace`] ?? "") : "";
}

function unique(texts: string[]): string[] {
  return [...new Set(texts)].filter((text) => text !== "").sort(order);
}

/** The same in every browser. */
function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
