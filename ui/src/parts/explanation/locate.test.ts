import { describe, expect, it } from "vitest";
import { locate, nearest } from "./locate";

const BLOCK = `# of the shop
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  annotations:
    note: |
      spec: not this one
        podSelector: nor this
spec:
  podSelector:
    matchLabels:
      "app.kubernetes.io/name": db
      tier: back # stays
  ingress:
    - from:
        - podSelector: {matchLabels: {app: web}}
        - ipBlock:
            cidr: 10.0.0.0/8
            except: [10.1.0.0/16, 10.2.0.0/16]
      ports:
        - port: 5432
          protocol: TCP
    - {}
`;

describe("fields in blocks", () => {
  const located = locate(BLOCK);
  const at = (...path: (string | number)[]) => located.find(path);

  it("finds each field with all of its lines", () => {
    expect(at("spec")).toEqual({ first: 9, last: 23 });
    expect(at("spec", "podSelector", "matchLabels", "app.kubernetes.io/name")).toEqual({
      first: 12,
      last: 12,
    });
    expect(at("spec", "podSelector", "matchLabels", "tier")).toEqual({ first: 13, last: 13 });
    expect(at("spec", "ingress", 0)).toEqual({ first: 15, last: 22 });
    expect(at("spec", "ingress", 0, "from", 1, "ipBlock", "cidr")).toEqual({ first: 18, last: 18 });
    expect(at("spec", "ingress", 0, "ports", 0, "protocol")).toEqual({ first: 22, last: 22 });
    expect(at("spec", "ingress", 1)).toEqual({ first: 23, last: 23 });
  });

  it("reads flow collections and skips text and comments", () => {
    expect(at("spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", "app")).toEqual({
      first: 16,
      last: 16,
    });
    expect(at("spec", "ingress", 0, "from", 1, "ipBlock", "except", 1)).toEqual({ first: 19, last: 19 });
    expect(at("metadata", "annotations", "note", "spec")).toBeUndefined();
    expect(located.count(["spec", "ingress"])).toBe(2);
    expect(located.count(["spec", "ingress", 0, "from"])).toBe(2);
  });

  it("falls back to what is around a field", () => {
    expect(nearest(located, ["spec", "ingress", 0, "from", 0, "namespaceSelector"])).toEqual({
      first: 16,
      last: 16,
    });
    expect(nearest(located, ["nothing"])).toBeUndefined();
  });
});

it("takes lists at the column of their key", () => {
  const located = locate(
    "spec:\n  egress:\n  - to:\n    - podSelector: {}\n    ports:\n    - port: 53\n  - {}\n  policyTypes:\n  - Egress\n",
  );
  expect(located.find(["spec", "egress", 0, "ports", 0, "port"])).toEqual({ first: 5, last: 5 });
  expect(located.find(["spec", "egress", 0])).toEqual({ first: 2, last: 5 });
  expect(located.find(["spec", "policyTypes", 0])).toEqual({ first: 8, last: 8 });
});

it("reads JSON, in one line or many", () => {
  const value = { spec: { ingress: [{ from: [{ podSelector: { matchLabels: { app: "a: b, {c}" } } }] }] } };
  const path = ["spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", "app"];
  expect(locate(JSON.stringify(value)).find(path)).toEqual({ first: 0, last: 0 });
  const many = JSON.stringify(value, null, 2);
  const line = many.split("\n").findIndex((text) => text.includes("a: b"));
  expect(locate(many).find(path)).toEqual({ first: line, last: line });
  expect(locate('{"a":["x","y"],"b":[{"c":1},{"c":2}]}').count(["b"])).toBe(2);
});

it("takes whatever comes", () => {
  for (const text of [
    "",
    ":",
    "- - -",
    "{",
    "}",
    "a: {b: [",
    '"\\',
    "\t\u202e<b>: 1",
    "---\n...\n",
    "? a\n: b",
  ]) {
    expect(() => locate(text)).not.toThrow();
  }
});
