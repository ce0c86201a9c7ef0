import { describe, expect, it } from "vitest";
import { exclude, include, only, standing, turned, without, written } from "./chips";
import { and, andNot, not } from "./edit";
import { parts } from "./parse";
import { rangeOf } from "./place";
import { chosen, contextAt } from "./suggest";
import { tokens } from "./tokens";

const texts = (filter: string) => parts(filter)?.map(({ from, to }) => filter.slice(from, to));

describe("parts of a filter", () => {
  it("are what AND joins; OR binds tighter", () => {
    expect(texts('a="x" b:y AND c!=3')).toEqual(['a="x"', "b:y", "c!=3"]);
    expect(texts("a b OR c d")).toEqual(["a", "b OR c", "d"]);
    expect(texts('(a="1" OR b="2") -c=("x" OR y)')).toEqual(['(a="1" OR b="2")', '-c=("x" OR y)']);
    expect(texts("a=1 -- b=2\nc=3")).toEqual(["a=1", "c=3"]);
    expect(texts('ip_in_net(source_ip, "10.0.0.0/8") NOT NOT a=1')).toEqual([
      'ip_in_net(source_ip, "10.0.0.0/8")',
      "NOT NOT a=1",
    ]);
    expect(texts("time>=2026-11-28T10:00:00Z source_ip=fd00::1")).toHaveLength(2);
    expect(parts("")).toEqual([]);
  });

  it("say what is compared", () => {
    const [list, label, any, none, both] = parts(
      'NOT a=("x" OR y) source_labels."app.kubernetes.io/name"="w" b:* c=NULL_VALUE d=(x y)',
    )!;
    expect(list).toMatchObject({ negated: true, comparison: { field: "a", values: ["x", "y"] } });
    expect(label!.comparison).toMatchObject({ field: "source_labels.app.kubernetes.io/name" });
    expect([any!.comparison!.asks, none!.comparison!.asks]).toEqual(["any", "none"]);
    expect(both!.comparison).toBeUndefined();
  });

  it("are none where the service reads none", () => {
    for (const wrong of ['a="x', "(a", "a)", "a=", "OR b", "a,b", "a==1", "a=(b=c)", "()", "a & b"]) {
      expect(parts(wrong), wrong).toBeUndefined();
    }
    expect(parts("(".repeat(60) + "a" + ")".repeat(60))).toBeUndefined();
  });

  it("unescape as the service does", () => {
    expect(tokens('"a\\"b\\\\c\\n\\d\\101"')[0]).toMatchObject({ value: 'a"b\\c\n\\dA', closed: true });
    expect(tokens("'x\\")[0]).toMatchObject({ closed: false });
  });
});

describe("edits", () => {
  it("include one value, then more of the same field", () => {
    const one = include("", "source_namespace", "shop");
    expect(one).toBe('source_namespace="shop"');
    const two = include(one, "source_namespace", 'we"b');
    expect(two).toBe('source_namespace=("shop" OR "we\\"b")');
    expect(standing(two, "source_namespace", 'we"b')).toBe("included");
    expect(include(two, "source_namespace", "shop")).toBe('source_namespace="we\\"b"');
    expect(include(one, "source_namespace", "shop")).toBe("");
    expect(include("destination_port=53", "destination_port", 80)).toBe("destination_port=(53 OR 80)");
  });

  it("exclude without losing flows that have no value", () => {
    const one = exclude("x", "policy", "a/b");
    expect(one).toBe('x NOT policy="a/b"');
    expect(exclude(one, "policy", "c/d")).toBe('x NOT policy=("a/b" OR "c/d")');
    expect(standing(one, "policy", "a/b")).toBe("excluded");
    expect(standing('policy!="a/b"', "policy", "a/b")).toBe("excluded");
    expect(exclude(one, "policy", "a/b")).toBe("x");
    expect(exclude('policy=("a" OR "b")', "policy", "a")).toBe('policy="b" NOT policy="a"');
    expect(include(one, "policy", "a/b")).toBe('x policy="a/b"');
  });

  it("reduce a field to one value, and know of those that have none", () => {
    expect(only('a="1" b=2 NOT a="3"', "a", "9")).toBe('b=2 a="9"');
    expect(include("", "source_workload", null)).toBe("NOT source_workload:*");
    expect(exclude("", "source_workload", null)).toBe("source_workload:*");
    expect(standing("NOT source_workload:*", "source_workload", null)).toBe("included");
    expect(standing("source_workload=NULL_VALUE", "source_workload", null)).toBe("included");
    expect(standing("source_workload:*", "source_workload", null)).toBe("excluded");
    expect(include("source_workload:*", "source_workload", null)).toBe("NOT source_workload:*");
  });

  it("keep what is not clicked", () => {
    const filter = "a=1 AND b=2 -- why\nAND c=3";
    const [a, b, c] = parts(filter)!;
    expect(without(filter, a!)).toBe("b=2 -- why\nAND c=3");
    expect(without(filter, b!)).toBe("a=1 AND c=3");
    expect(without(filter, c!)).toBe("a=1 AND b=2 -- why");
  });

  it("turn a part around", () => {
    const filter = "a=1 b OR c";
    const [a, either] = parts(filter)!;
    expect(turned(filter, a!)).toBe("NOT a=1 b OR c");
    expect(turned(filter, either!)).toBe("a=1 NOT (b OR c)");
    const turnedOnce = turned(filter, either!);
    expect(turned(turnedOnce, parts(turnedOnce)![1]!)).toBe("a=1 (b OR c)");
  });

  it("do not run into comments, and negate the whole", () => {
    expect(and("a=1 -- x", "b=2")).toBe("a=1 -- x\nb=2");
    expect(and("a OR b -- x", "c")).toBe("(a OR b -- x\n) c");
    expect(andNot("", "a=1 b=2")).toBe("NOT (a=1 b=2)");
    expect(not("-a=1")).toBe("NOT (-a=1)");
  });

  it("write keys of labels so that they are read", () => {
    expect(written("source_labels.app")).toBe("source_labels.app");
    expect(written("source_labels.app.kubernetes.io/name")).toBe('source_labels."app.kubernetes.io/name"');
    expect(written('source_labels.a"b')).toBe('source_labels."a\\"b"');
  });
});

describe("completion", () => {
  const at = (marked: string) => contextAt(marked.replace("|", ""), marked.indexOf("|"));

  it("knows whether a field or a value is due", () => {
    expect(at("sou|")).toEqual({ kind: "field", typed: "sou", from: 0, to: 3 });
    expect(at("a=1 |")).toMatchObject({ kind: "field", typed: "", from: 4 });
    expect(at("policy=sh|op b=1")).toEqual({ kind: "value", field: "policy", typed: "sh", from: 7, to: 11 });
    expect(at('policy="sh|')).toMatchObject({ kind: "value", typed: "sh", from: 7 });
    expect(at("policy=|")).toMatchObject({ kind: "value", field: "policy", typed: "" });
    expect(at('policy=("a" OR b|')).toMatchObject({ kind: "value", field: "policy", typed: "b" });
    expect(at('policy=("a" OR "b") s|')).toMatchObject({ kind: "field", typed: "s" });
    expect(at('(policy="a" OR s|')).toMatchObject({ kind: "field", typed: "s" });
    expect(at("-- com|ment")).toBeUndefined();
  });

  it("puts the choice in", () => {
    const choose = (marked: string, choice: string | number) => {
      const text = marked.replace("|", "");
      const result = chosen(text, contextAt(text, marked.indexOf("|"))!, choice);
      return `${result.text.slice(0, result.caret)}|${result.text.slice(result.caret)}`;
    };
    expect(choose("sou|", "source_pod")).toBe("source_pod=|");
    expect(choose("sou|=x", "source_pod")).toBe("source_pod|=x");
    expect(choose('policy="sh|', 'shop/"x')).toBe('policy="shop/\\"x" |');
    expect(choose("destination_port=|", 53)).toBe("destination_port=53 |");
    expect(choose("policy=(a OR b|)", "bc")).toBe('policy=(a OR "bc"|)');
  });
});

describe("places of the service", () => {
  it("count characters, not UTF-16 units", () => {
    const text = 'a="😀" x\nb=';
    expect(rangeOf(text, { line: 1, column: 7, end: 8, message: "" })).toEqual({ from: 7, to: 8 });
    expect(rangeOf(text, { line: 2, column: 3, end: 4, message: "" })).toEqual({ from: 11, to: 11 });
  });
});
