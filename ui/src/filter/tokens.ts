// Cuts the text of a filter into tokens, as the service does (query/src/filter/scan.rs), but never refuses:
// what one is still typing has tokens too.

export type TokenKind =
  "and" | "or" | "not" | "open" | "close" | "comma" | "operator" | "word" | "comment" | "wrong";

export interface Token {
  kind: TokenKind;
  /** Where it begins and ends in the text, in UTF-16 units as everywhere in JavaScript. */
  from: number;
  to: number;
  /** Without quotes and escapes. */
  value: string;
  /** The parts between points; only words have several. */
  parts: string[];
  quoted: boolean;
  /** Whether the last quote has its other end. */
  closed: boolean;
}

const BARE = /[\p{L}\p{N}_/\-%@+$]/u;
const OPERATORS = new Set(["=", "!=", "<", "<=", ">", ">=", ":", "=~", "!~"]);

export function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  let valueIsDue = false;
  while (at < text.length) {
    const blank = /\s+/uy;
    blank.lastIndex = at;
    if (blank.test(text)) {
      at = blank.lastIndex;
      continue;
    }
    const token = next(text, at, valueIsDue);
    found.push(token);
    at = token.to;
    if (token.kind !== "comment") valueIsDue = token.kind === "operator";
  }
  return found;
}

function next(text: string, at: number, valueIsDue: boolean): Token {
  const character = text[at]!;
  if (text.startsWith("--", at)) {
    const end = text.indexOf("\n", at);
    return plain("comment", text, at, end < 0 ? text.length : end);
  }
  if (character === "(") return plain("open", text, at, at + 1);
  if (character === ")") return plain("close", text, at, at + 1);
  if (character === '"' || character === "'") return word(text, at);
  if (valueIsDue)
    return plain(
      "word",
      text,
      at,
      endOf(text, at, (c) => !/[\s()"']/u.test(c)),
    );
  if (character === ",") return plain("comma", text, at, at + 1);
  if (character === "-") return plain("not", text, at, at + 1);
  if ("=!<>:~".includes(character)) {
    const end = endOf(text, at, (c) => "=!<>:~".includes(c));
    return plain(OPERATORS.has(text.slice(at, end)) ? "operator" : "wrong", text, at, end);
  }
  const [point] = text.slice(at, at + 2);
  if (point === "." || BARE.test(point!)) return word(text, at);
  return plain("wrong", text, at, at + point!.length);
}

/** Parts joined by points; AND, OR and NOT. */
function word(text: string, from: number): Token {
  const parts: string[] = [];
  let [at, quoted, closed] = [from, false, true];
  for (;;) {
    const quote = text[at];
    if (quote === '"' || quote === "'") {
      const part = unquoted(text, at);
      parts.push(part.value);
      [at, quoted, closed] = [part.to, true, part.closed];
    } else {
      const end = endOf(text, at, (c) => BARE.test(c));
      parts.push(text.slice(at, end));
      at = end;
    }
    if (text[at] !== ".") break;
    at += 1;
  }
  const value = parts.join(".");
  const kinds: Record<string, TokenKind> = { AND: "and", OR: "or", NOT: "not" };
  const kind = quoted ? "word" : (kinds[value] ?? "word");
  return { kind, from, to: at, value, parts, quoted, closed };
}

function unquoted(text: string, from: number): { value: string; to: number; closed: boolean } {
  const quote = text[from];
  let value = "";
  for (let at = from + 1; at < text.length; at += 1) {
    const character = text[at]!;
    if (character === quote) return { value, to: at + 1, closed: true };
    if (character !== "\\") {
      value += character;
      continue;
    }
    at += 1;
    const escaped = text[at] ?? "";
    const octal = /[0-3]?[0-7]{1,2}/y;
    octal.lastIndex = at;
    const digits = octal.exec(text)?.[0];
    if (digits) {
      value += String.fromCodePoint(Number.parseInt(digits, 8));
      at += digits.length - 1;
    } else if ("\"'\\`".includes(escaped)) value += escaped;
    else value += { n: "\n", t: "\t", r: "\r" }[escaped] ?? `\\${escaped}`;
  }
  return { value, to: text.length, closed: false };
}

function plain(kind: TokenKind, text: string, from: number, to: number): Token {
  const value = text.slice(from, to);
  return { kind, from, to, value, parts: [value], quoted: false, closed: true };
}

/** Where the characters end that pass. */
function endOf(text: string, from: number, wanted: (character: string) => boolean): number {
  let at = from;
  while (at < text.length) {
    const character = String.fromCodePoint(text.codePointAt(at)!);
    if (!wanted(character)) break;
    at += character.length;
  }
  return at;
}
