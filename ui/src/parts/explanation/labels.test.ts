import { expect, it } from "vitest";
import { compared, nearestPeer } from "./labels";

const clause = (field: string, matched: boolean, text: string) => ({ field, matched, text });
const APP = clause("podSelector.matchLabels.app", false, "wants app=backend; default/rogue has no label app");
const SPACE = clause(
  "namespaceSelector.matchLabels.kubernetes.io/metadata.name",
  false,
  "wants kubernetes.io/metadata.name=web; namespace default has kubernetes.io/metadata.name=default",
);

it("puts what is wanted beside what is there, and the rest of the labels below", () => {
  expect(compared([APP, SPACE], { run: "rogue" })).toEqual([
    {
      selector: "podSelector",
      rows: [
        { key: "app", wants: "backend", has: null, sign: "failed" },
        { key: "run", wants: "", has: "rogue", sign: "none" },
      ],
    },
    {
      selector: "namespaceSelector",
      rows: [{ key: "kubernetes.io/metadata.name", wants: "web", has: "default", sign: "failed" }],
    },
  ]);
});

it("reads the words where nobody knows the labels", () => {
  expect(compared([APP], undefined)[0]!.rows[0]).toEqual({
    key: "app",
    wants: "backend",
    has: null,
    sign: "failed",
  });
  const expression = clause(
    "podSelector.matchExpressions[0]",
    true,
    "wants tier NotIn (db); a/b has tier=web",
  );
  expect(compared([expression], undefined)[0]!.rows[0]).toEqual({
    key: "tier",
    wants: "tier NotIn (db)",
    has: "web",
    sign: "matched",
  });
  expect(compared([clause("ipBlock.cidr", true, "10.0.0.0/8 contains 10.1.1.1")], { a: "b" })).toEqual([]);
});

it("compares with the peer that comes nearest", () => {
  const near = { index: 1, matched: false, clauses: [APP] };
  const block = { index: 2, matched: false, clauses: [clause("ipBlock.cidr", false, "")] };
  expect(nearestPeer([{ index: 0, matched: false, clauses: [APP, SPACE] }, near, block])).toBe(near);
  expect(nearestPeer([block])).toBeUndefined();
});
