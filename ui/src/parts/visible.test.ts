import { describe, expect, it } from "vitest";
import { visible } from "./visible";

describe("characters that nobody sees", () => {
  it("are shown as what they are", () => {
    expect(visible("a\r\nb\tc\u0000\u001b[31m\u007f")).toBe("a␍␊b␉c␀␛[31m␡");
    expect(visible("\u202egnp.exe\u202c")).toBe("⟨U+202E⟩gnp.exe⟨U+202C⟩");
    expect(visible("\u200b\ufeff\u00ad")).toBe("⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩");
  });

  it("are all that changes", () => {
    const names = ["default/web-7d4b9c6f5", "<b>", "עברית", "می\u200cخواهم", "👩\u200d🚀", "a  b"];
    expect(names.map(visible)).toEqual(names);
  });
});
