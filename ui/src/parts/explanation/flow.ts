// Fields of a flow collection, `{a: [b, c]}`, which may go over several lines.

/** A key of a map, or the place in a list. */
export type Step = string | number;

export interface Found {
  path: Step[];
  /** Where it begins, from 0. */
  line: number;
}

interface Open {
  path: Step[];
  /** Of a list: the next entry. Of a map: less than 0. */
  next: number;
  /** A key was read and its value is not over. */
  key: Step | null;
}

const TOKEN =
  /"(?:\\.|[^"\\])*"|'(?:''|[^'])*'|[[\]{},]|:(?=[\s,\]}]|$)|[^\s[\]{},:"'][^[\]{},:]*(?::(?!\s|$)[^[\]{},:]*)*/g;

/** Reads the collection that begins there; the line on which it ends. */
export function readFlow(lines: string[], begin: number, column: number, at: Step[], found: Found[]): number {
  const open: Open[] = [];
  for (let line = begin; line < lines.length; line += 1) {
    const text = line === begin ? lines[line]!.slice(column) : lines[line]!;
    const tokens = withoutComment(text).match(TOKEN) ?? [];
    for (let index = 0; index < tokens.length; index += 1) {
      const token = tokens[index]!;
      const top = open.at(-1);
      if (token === "{" || token === "[") {
        const path = top ? entry(top, line, found) : at;
        open.push({ path, next: token === "[" ? 0 : -1, key: null });
      } else if (token === "}" || token === "]") {
        open.pop();
        if (open.length === 0) return line;
      } else if (token === ",") {
        if (top) top.key = null;
      } else if (token !== ":" && top) {
        const isKey = top.next < 0 && top.key === null;
        if (isKey) {
          top.key = plain(token.trim());
          found.push({ path: [...top.path, top.key], line });
        } else if (top.next >= 0) {
          entry(top, line, found);
        }
      }
    }
  }
  return lines.length - 1;
}

/** The path of the value that begins now. */
function entry(top: Open, line: number, found: Found[]): Step[] {
  if (top.next < 0) return top.key === null ? top.path : [...top.path, top.key];
  if (top.key === null) {
    top.key = top.next;
    top.next += 1;
    found.push({ path: [...top.path, top.key], line });
  }
  return [...top.path, top.key];
}

function withoutComment(text: string): string {
  return text.replace(
    /("(?:\\.|[^"\\])*"|'(?:''|[^'])*')|(^|\s)#.*$/g,
    (_, quoted: string | undefined) => quoted ?? "",
  );
}

/** A key without its quotes. */
export function plain(key: string): string {
  if (key.startsWith("'")) return key.slice(1, -1).replaceAll("''", "'");
  if (!key.startsWith('"')) return key;
  try {
    return JSON.parse(key) as string;
  } catch {
    return key.slice(1, -1);
  }
}
