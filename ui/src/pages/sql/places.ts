// Where in the text the service found something wrong.

export interface Range {
  from: number;
  to: number;
}

/** The place that a message tells, or the name that it tells of; undefined if it tells neither. */
export function placeOf(message: string, sql: string): Range | undefined {
  return told(message, sql) ?? named(message, sql);
}

/** `… at Line: 2, Column: 8`, both from 1 on. */
function told(message: string, sql: string): Range | undefined {
  const found = /\bat Line: (\d+), Column: (\d+)/.exec(message);
  if (found) {
    const lines = sql.split("\n");
    const line = Number(found[1]) - 1;
    if (line < 0 || line >= lines.length) return undefined;
    const begin = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
    const from = Math.min(begin + Number(found[2]) - 1, sql.length);
    const word = /^\w+/.exec(sql.slice(from))?.[0].length ?? 1;
    return range(from, from + word, sql);
  }
  // Something is missing behind the last word.
  if (/found: EOF\b/.test(message)) {
    const end = sql.trimEnd().length;
    const word = /\S+$/.exec(sql.slice(0, end))?.[0].length ?? 0;
    return range(end - word, end, sql);
  }
  return undefined;
}

/** The first name in quotes that the text has as a word. */
function named(message: string, sql: string): Range | undefined {
  for (const [, backquoted, quoted] of message.matchAll(/`([^`]+)`|'([^']+)'/g)) {
    const name = (backquoted ?? quoted)!;
    const pattern = new RegExp(`(?<![\\w.])${escaped(name)}(?!\\w)`, "i");
    const from = pattern.exec(sql)?.index;
    if (from !== undefined) return range(from, from + name.length, sql);
  }
  return undefined;
}

/** At least one character, within the text. */
function range(from: number, to: number, sql: string): Range | undefined {
  if (sql === "") return undefined;
  const begin = Math.min(from, sql.length - 1);
  return { from: begin, to: Math.min(Math.max(to, begin + 1), sql.length) };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
