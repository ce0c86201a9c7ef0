import { describe, expect, it } from "vitest";
import { and, andNot, equals, oneOf, quoted } from "./edit";

describe("filters from clicks", () => {
  it("quotes what comes from data", () => {
    expect(quoted('a"b\\c\nd')).toBe('"a\\"b\\\\c\\nd"');
    expect(equals("destination_port", 53)).toBe("destination_port=53");
  });

  it("keeps what was there together", () => {
    expect(and("", 'a="b"')).toBe('a="b"');
    expect(and('a="1" OR b="2"', "c=3")).toBe('(a="1" OR b="2") c=3');
    expect(and('a="x OR y"', oneOf("verdict", ["deny", "audit"]))).toBe(
      'a="x OR y" verdict=("deny" OR "audit")',
    );
    expect(andNot("a=1", "b=2 OR c=3")).toBe("a=1 NOT (b=2 OR c=3)");
  });
});
