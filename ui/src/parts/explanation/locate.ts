// Where in a manifest's text a field is. Reads as much of YAML as manifests use – blocks, lists and flow
// collections, and so JSON too – and never fails: what it cannot read belongs to the field around it.

import { plain, readFlow, type Found, type Step } from "./flow";

export type { Step };

/** The lines of a field, from 0; the last one is included. */
export interface Lines {
  first: number;
  last: number;
}

export interface Located {
  lines: string[];
  /** The lines of a field; undefined if the text has no such field. */
  find(path: readonly Step[]): Lines | undefined;
  /** How many entries a list, or a map, has. */
  count(path: readonly Step[]): number;
}

interface Open {
  /** Column of its keys or of its dashes. */
  column: number;
  path: Step[];
  /** Index of the last entry, in a list. */
  index: number;
}

export function locate(text: string): Located {
  const lines = text.replace(/\n$/, "").split(/\r?\n/);
  const found = new Map<string, Lines>();
  const counts = new Map<string, number>();
  for (const { path, line } of fields(lines)) {
    const key = JSON.stringify(path);
    if (found.has(key)) continue;
    found.set(key, { first: line, last: line });
    const parent = JSON.stringify(path.slice(0, -1));
    counts.set(parent, (counts.get(parent) ?? 0) + 1);
    // Whoever is around it goes on until here.
    for (let length = 0; length < path.length; length += 1) {
      const around = found.get(JSON.stringify(path.slice(0, length)));
      if (around) around.last = Math.max(around.last, line);
    }
  }
  return {
    lines,
    find: (path) => found.get(JSON.stringify(path)),
    count: (path) => counts.get(JSON.stringify(path)) ?? 0,
  };
}

/** The nearest field around a path that the text has. */
export function nearest(located: Located, path: readonly Step[]): Lines | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const lines = located.find(path.slice(0, length));
    if (lines) return lines;
  }
  return undefined;
}

function fields(lines: string[]): Found[] {
  const found: Found[] = [];
  const open: Open[] = [];
  /** What deeper lines belong to. */
  let below: Step[] = [];
  let line = 0;
  while (line < lines.length) {
    const text = lines[line]!;
    const content = text.trimStart();
    let column = text.length - content.length;
    line += 1;
    if (content === "" || content.startsWith("#") || /^(---|\.\.\.)(\s|$)/.test(text)) continue;
    if (open.length === 0 && /^[[{]/.test(content)) {
      readFlow(lines, line - 1, column, [], found);
      break;
    }
    let rest = content;
    // One line may begin several entries: `- - a: 1`.
    for (let dash = /^-(\s+|$)/.exec(rest); dash; dash = /^-(\s+|$)/.exec(rest)) {
      const list = entered(open, column, below, true);
      list.index += 1;
      below = [...list.path, list.index];
      found.push({ path: below, line: line - 1 });
      rest = rest.slice(dash[0].length);
      column += dash[0].length;
      if (/^[[{]/.test(rest)) {
        line = readFlow(lines, line - 1, column, below, found) + 1;
        rest = "";
      }
    }
    const key = /^("(?:\\.|[^"\\])*"|'(?:''|[^'])*'|[^\s#"'[\]{},][^#]*?)\s*:(?:\s+|$)/.exec(rest);
    if (!key) continue;
    const map = entered(open, column, below, false);
    below = [...map.path, plain(key[1]!)];
    found.push({ path: below, line: line - 1 });
    const value = rest.slice(key[0].length);
    if (/^[[{]/.test(value)) {
      line = readFlow(lines, line - 1, column + key[0].length, below, found) + 1;
    } else if (/^[|>][-+0-9]*\s*(#.*)?$/.test(value)) {
      // The lines of a block of text are nobody's fields.
      while (line < lines.length && (lines[line]!.trim() === "" || indent(lines[line]!) > column)) line += 1;
    }
  }
  return found;
}

/** The collection that has entries at a column: the one that is open there, or a new one below the last field. */
function entered(open: Open[], column: number, below: Step[], isList: boolean): Open {
  while (open.length > 0 && open.at(-1)!.column > column) open.pop();
  let last = open.at(-1);
  // A list may stand at the column of the key that it belongs to; a key there ends it.
  if (last && last.column === column && !isList && last.index >= 0) {
    open.pop();
    last = open.at(-1);
  }
  if (last && last.column === column && isList === last.index >= 0) return last;
  const path = open.length === 0 ? [] : below;
  const fresh: Open = { column, path, index: isList ? -1 : Number.NEGATIVE_INFINITY };
  open.push(fresh);
  return fresh;
}

function indent(line: string): number {
  return line.length - line.trimStart().length;
}
