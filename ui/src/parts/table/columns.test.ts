import { describe, expect, it } from "vitest";
import { leastWidth, moved, template, widthsOf, type Column } from "./columns";

const column = (id: string, width: number, grows = false): Column<never> => ({
  id,
  title: id,
  width,
  grows,
  text: () => "",
});

describe("columns", () => {
  const columns = [column("a", 100), column("b", 200, true)];

  it("share the width that is left, until one has a width of its own", () => {
    expect(template(columns, {})).toBe("100px minmax(200px, 200fr)");
    expect(template(columns, { b: 300 })).toBe("100px 300px 1fr");
    expect(leastWidth(columns, { a: 1, b: 9_999 })).toBe(48 + 1_200);
  });

  it("move, and not beyond the ends", () => {
    expect(moved(["a", "b", "c"], "a", 1)).toEqual(["b", "a", "c"]);
    expect(moved(["a", "b", "c"], "c", -4)).toEqual(["c", "a", "b"]);
    expect(moved(["a", "b", "c"], "b", 9)).toEqual(["a", "c", "b"]);
    expect(moved(["a"], "x", 0)).toEqual(["a"]);
  });

  it("takes no widths from what is none", () => {
    expect(widthsOf('{"a":120,"b":"wide","c":-1,"d":null}')).toEqual({ a: 120 });
    expect(widthsOf("{")).toEqual({});
    expect(widthsOf(null)).toEqual({});
    expect(widthsOf("null")).toEqual({});
  });
});
