import { describe, expect, it } from "vitest";
import { endOf, filterOf } from "./ends";
import { around, graphOf, largest, peersOf, portWords } from "./graph";
import { group } from "./testing";

const nothing = { all: false, namespaces: new Set<string>() };

describe("ends", () => {
  it("are asked for by what they are", () => {
    const filter = (to: string, more = {}) =>
      filterOf(
        endOf(group("a/b", to, more), "destination", () => false),
        "destination",
        false,
      );
    expect(filter("shop/web")).toBe(
      'destination_namespace="shop" destination_workload_kind="Deployment" destination_workload="web"',
    );
    expect(filter("world")).toBe('destination_kind="world"');
    expect(filter("service", { destination_service: "shop/db" })).toBe(
      'destination_kind="service" destination_service="shop/db"',
    );
    expect(filter("something new")).toBe('destination_kind="unknown"');
    expect(filter('shop/we"b')).toContain('destination_workload="we\\"b"');
    // A pod that nobody owns, and whose name nobody told.
    expect(filter("shop/")).toContain("destination_workload=NULL_VALUE");
  });

  it("of a collapsed namespace are the namespace", () => {
    const end = endOf(group("shop/web", "world"), "source", (namespace) => namespace === "shop");
    expect(filterOf(end, "source", true)).toBe('cluster="lab" source_kind="pod" source_namespace="shop"');
  });

  it("have ids that names cannot forge", () => {
    const id = (name: string) => endOf(group(name, "world"), "source", () => false).id;
    expect(id("a/b")).not.toBe(endOf(group("a", "world"), "source", () => false).id);
    const [one, other] = ["x y", "x%20y"].map((name) => id(`a/${name}`));
    expect(one).not.toBe(other);
  });
});

describe("the graph", () => {
  it("sums by ends and verdict, with ports of the most verdicts first", () => {
    const graph = graphOf(
      [
        group("a/x", "b/y", { destination_port: 80, count: 2 }),
        group("a/x", "b/y", { destination_port: 443, count: 5, policy: "b/deny" }),
        group("a/x", "b/y", { destination_port: 80, count: 1, reason: "policy" }),
        group("a/x", "b/y", { verdict: "allow", count: 7 }),
        group("a/x", "b/y", { verdict: "perhaps" }),
      ],
      nothing,
    );
    expect(graph.unknown).toBe(1);
    const [allow, deny] = graph.edges;
    expect([allow!.verdict, allow!.count]).toEqual(["allow", 7]);
    expect([deny!.count, deny!.bytes]).toEqual([8, 45]);
    expect(deny!.ports.map(({ port, count }) => [port, count])).toEqual([
      [443, 5],
      [80, 3],
    ]);
    expect([deny!.policies, deny!.reasons]).toEqual([["b/deny"], ["default_deny", "policy"]]);
    expect(graph.nodes.map(({ sums }) => sums.deny)).toEqual([8, 8]);
  });

  it("is the same whatever the order of the groups", () => {
    const groups = [group("a/x", "b/y"), group("b/y", "world"), group("c/z", "a/x")];
    const ids = (all: typeof groups) => graphOf(all, nothing).nodes.map(({ id }) => id);
    expect(ids(groups)).toEqual(ids([...groups].reverse()));
  });

  it("collapses namespaces, and what is within one goes from it to itself", () => {
    const groups = [group("a/x", "a/y"), group("a/x", "b/z"), group("world", "a/x")];
    const graph = graphOf(groups, { all: false, namespaces: new Set(["a"]) });
    expect(graph.nodes.map(({ kind, members }) => [kind, members])).toEqual([
      ["world", 1],
      ["namespace", 2],
      ["workload", 1],
    ]);
    // An edge to itself counts once at its end.
    const namespace = graph.nodes[1]!;
    expect(namespace.sums.deny).toBe(3);
    expect(graph.edges.some(({ source, target }) => source === target)).toBe(true);
    expect(graphOf(groups, { all: true, namespaces: new Set() }).namespaces).toEqual(["a", "b"]);
  });

  it("can be seen from one end, or by its largest ends", () => {
    const graph = graphOf(
      [group("a/x", "b/y", { count: 9 }), group("b/y", "c/z", { count: 5 }), group("c/z", "d/w")],
      nothing,
    );
    const y = graph.nodes.find(({ name }) => name === "y")!;
    expect(around(graph, y.id).nodes.map(({ name }) => name)).toEqual(["x", "y", "z"]);
    expect(peersOf(graph, y.id).map(({ peer }) => peer.name)).toEqual(["x", "z"]);
    const two = largest(graph, 2);
    expect(two.nodes.map(({ name }) => name)).toEqual(["x", "y"]);
    expect(two.edges).toHaveLength(1);
  });

  it("names ports", () => {
    const ports = [80, 443, null].map((port) => ({
      protocol: port === null ? "ICMP" : "TCP",
      port,
      count: 1,
    }));
    expect(portWords(ports, 3)).toBe("TCP 80, TCP 443, ICMP");
    expect(portWords(ports, 1)).toBe("TCP 80 and 2 more");
  });
});
