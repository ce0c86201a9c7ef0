import { describe, expect, it } from "vitest";
import { pieces } from "./marks";
import { matching } from "../../../filter/names";

describe("the text of a filter", () => {
  it("is cut where tokens and problems are, and nothing is lost", () => {
    const text = 'verdict="deny" polcy=x';
    const error = { line: 1, column: 16, end: 21, message: "" };
    const found = pieces(text, { ok: false, sql: null, warnings: [], error });
    expect(found.map((piece) => piece.text).join("")).toBe(text);
    expect(found.filter(({ problem }) => problem).map((piece) => [piece.text, piece.problem])).toEqual([
      ["polcy", "error"],
    ]);
    expect(found[0]).toEqual({ text: "verdict", kind: "field", problem: undefined });
  });

  it("may end where the problem begins", () => {
    const error = { line: 1, column: 3, end: 4, message: "" };
    const found = pieces("a=", { ok: false, sql: null, warnings: [], error });
    expect(found.map(({ text, problem }) => [text, problem])).toEqual([
      ["a", undefined],
      ["=", "error"],
    ]);
    expect(pieces("", undefined)).toEqual([]);
  });
});

describe("completion", () => {
  it("offers what begins so before what contains it", () => {
    const all = ["source_pod", "pod", "policy"].map((value) => ({ value, about: "" }));
    expect(matching(all, "PO").map(({ value }) => value)).toEqual(["pod", "policy", "source_pod"]);
    expect(matching(all, "x")).toEqual([]);
  });
});
