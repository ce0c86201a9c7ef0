// The lines of a unified diff by what they are.

export interface DiffLine {
  text: string;
  kind: "file" | "place" | "added" | "removed" | "same";
}

export function diffLines(text: string): DiffLine[] {
  // How many lines of both texts the hunk still has: what looks like a header may be a line of a text.
  let [old, fresh] = [0, 0];
  return text
    .replace(/\n$/, "")
    .split("\n")
    .map((line) => {
      const hunk = old > 0 || fresh > 0 ? null : /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(line);
      if (hunk) {
        [old, fresh] = [Number(hunk[1] ?? 1), Number(hunk[2] ?? 1)];
        return { text: line, kind: "place" };
      }
      if (old <= 0 && fresh <= 0) return { text: line, kind: "file" };
      if (line.startsWith("+")) {
        fresh -= 1;
        return { text: line, kind: "added" };
      }
      if (line.startsWith("-")) {
        old -= 1;
        return { text: line, kind: "removed" };
      }
      if (!line.startsWith("\\")) [old, fresh] = [old - 1, fresh - 1];
      return { text: line, kind: "same" };
    });
}
