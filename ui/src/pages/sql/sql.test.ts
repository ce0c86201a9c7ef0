import { describe, expect, it } from "vitest";
import { columnsFor, type Table } from "./completion";
import { curl, fileName, FORMATS } from "./download";
import { placeOf } from "./places";
import { shownText, sortOf, wholeText } from "./values";

const found = (message: string, sql: string) => {
  const place = placeOf(message, sql);
  return place && sql.slice(place.from, place.to);
};

describe("places of errors", () => {
  it("are told by line and column", () => {
    const message = "the SQL cannot be read: Expected: an expression, found: frm at Line: 2, Column: 3";
    expect(found(message, "select 1\n  frm flows")).toBe("frm");
    expect(found("… at Line: 9, Column: 1", "select 1")).toBe(undefined);
    // Behind the end is the last character.
    expect(found("… at Line: 1, Column: 90", "select (")).toBe("(");
  });

  it("are the last word where something is missing", () => {
    expect(found("Expected: an expression, found: EOF", "select * from flows where \n")).toBe("where");
  });

  it("are the names that the message has", () => {
    expect(found("there is no column `verdikt`: did you mean `verdict`?", "select xverdikt, Verdikt")).toBe(
      "Verdikt",
    );
    expect(found("Invalid function 'no.fun'.", "select nofun(1)")).toBe(undefined);
    expect(found("Invalid function 'nofun'.", "select nofun(1)")).toBe("nofun");
    expect(found("it needs more memory", "select 1")).toBe(undefined);
    expect(found("there is no column `x`", "")).toBe(undefined);
  });
});

describe("values", () => {
  const column = (name: string, type: string) => ({ name, type });

  it("know what they are by their column's type", () => {
    const types = [
      "timestamp(ns, UTC)",
      "date",
      "uint64",
      "decimal128(10, 2)",
      "text",
      "boolean",
      "map(text, text)",
    ];
    expect(types.map((type) => sortOf(column("c", type)))).toEqual([
      ...["time", "time", "number", "number", "text", "text", "other"],
    ]);
  });

  it("are shown as people read them, and whole as they came", () => {
    expect(shownText(1234567, column("count", "uint64"))).toBe("1,234,567");
    expect(shownText(54321, column("destination_port", "uint16"))).toBe("54321");
    expect(shownText(0.000123456, column("rate", "float64"))).toBe("0.000123");
    expect(shownText(null, column("rate", "float64"))).toBe("null");
    expect(wholeText([{ rule: 1 }])).toBe('[{"rule":1}]');
    expect(shownText("2026-11-28T14:03:07.123456789Z", column("t", "timestamp(ns, UTC)"))).toMatch(
      /^2026-11-2[789] \d\d:\d\d:07\.123/,
    );
  });
});

it("offers columns of the tables that a statement names", () => {
  const table = (name: string, columns: string[]): Table => ({
    name,
    doc: "",
    columns: columns.map((column) => ({
      name: column,
      type: "text",
      nullable: false,
      filterable: true,
      doc: "",
    })),
  });
  const tables = [table("flows", ["time", "verdict"]), table("loss", ["time", "stage"])];
  const labels = (text: string) => columnsFor(tables, text).map(({ label }) => label);
  expect(labels("select ")).toEqual(["time", "verdict"]);
  expect(labels("select x from LOSS")).toEqual(["time", "stage"]);
  expect(labels("select x from loss join flows")).toEqual(["time", "verdict", "stage"]);
  expect(labels("select my_flows_2 from loss")).toEqual(["time", "stage"]);
});

describe("downloads", () => {
  it("have names that every system takes", () => {
    expect(fileName(FORMATS[0]!, new Date("2026-11-28T14:03:07.123Z"))).toBe("weir-2026-11-28T140307Z.csv");
  });

  it("are commands that a shell reads as they are", () => {
    expect(curl("select 'a'", "http://h")).toContain(`-d '{"sql":"select '\\''a'\\''"}'`);
  });
});
