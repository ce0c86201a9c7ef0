// The parts of a filter that are joined by AND: what chips are made of. OR binds tighter than AND.

import { tokens, type Token } from "./tokens";

/** `field=value`, or with several values of which one is enough. */
export interface Comparison {
  field: string;
  operator: string;
  values: string[];
  /** Whether it asks for anything at all (`field:*`), or for nothing (`field=NULL_VALUE`). */
  asks?: "any" | "none";
}

/** A part of a filter; all of them have to be true. */
export interface Part {
  /** Where it is in the text. */
  from: number;
  to: number;
  /** What it compares; nothing if it is more than one comparison, a text alone or a function. */
  comparison?: Comparison;
  /** Whether it is what must not be. */
  negated: boolean;
  /** Where that is which must not be, without the NOT. */
  inner: { from: number; to: number };
}

const DEEPEST = 50;
const ASKS: Record<string, Comparison["asks"]> = { "*": "any", NULL_VALUE: "none" };

/** The parts; nothing if the service would not read the text either. */
export function parts(text: string): Part[] | undefined {
  const all = tokens(text).filter((token) => token.kind !== "comment");
  const parser = new Parser(all);
  try {
    return all.length === 0 ? [] : parser.whole();
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

class Unreadable extends Error {}

class Parser {
  #at = 0;

  constructor(private readonly tokens: Token[]) {}

  whole(): Part[] {
    const found = this.#conjunction(0);
    if (this.#peek()) throw new Unreadable();
    return found;
  }

  #conjunction(depth: number): Part[] {
    const found = [this.#disjunction(depth)];
    for (;;) {
      const kind = this.#peek()?.kind;
      if (kind === undefined || kind === "close" || kind === "comma") return found;
      if (kind === "and") this.#at += 1;
      found.push(this.#disjunction(depth));
    }
  }

  #disjunction(depth: number): Part {
    const first = this.#negation(depth);
    let last = first;
    while (this.#peek()?.kind === "or") {
      this.#at += 1;
      last = this.#negation(depth);
    }
    return last === first ? first : whole(first.from, last.to);
  }

  #negation(depth: number): Part {
    if (depth > DEEPEST) throw new Unreadable();
    const token = this.#take();
    if (token.kind === "not") {
      const inner = this.#negation(depth + 1);
      const { from, to } = inner;
      // Twice not is shown as it is written.
      if (inner.negated) return { ...whole(token.from, to), inner: { from, to }, negated: true };
      return { from: token.from, to, comparison: inner.comparison, negated: true, inner: { from, to } };
    }
    if (token.kind === "open") {
      const inside = this.#conjunction(depth + 1);
      const close = this.#take("close");
      const [only] = inside;
      const node = whole(token.from, close.to);
      if (inside.length === 1 && only && !only.negated) node.comparison = only.comparison;
      return node;
    }
    if (token.kind !== "word") throw new Unreadable();
    return this.#term(token, depth);
  }

  #term(word: Token, depth: number): Part {
    let end = word.to;
    let isCall = false;
    const open = this.#peek();
    if (open?.kind === "open" && open.from === word.to && !word.quoted) {
      end = this.#call(depth);
      isCall = true;
    }
    const operator = this.#peek();
    if (operator?.kind !== "operator") return whole(word.from, end);
    this.#at += 1;
    const values = this.#values(depth);
    const node = whole(word.from, values.to);
    if (!isCall && values.listed) {
      const { listed, asks } = values;
      node.comparison = { field: word.value, operator: operator.value, values: listed, asks };
    }
    return node;
  }

  /** A value, or a list in parentheses; `listed` if one of them is enough. */
  #values(depth: number): { to: number; listed?: string[]; asks?: Comparison["asks"] } {
    const first = this.#take();
    if (first.kind === "word") {
      const asks = first.quoted ? undefined : ASKS[first.value];
      return { to: first.to, listed: [first.value], asks };
    }
    if (first.kind !== "open") throw new Unreadable();
    const listed: string[] = [];
    let simple = true;
    for (let open = 1; open > 0;) {
      const token = this.#take();
      if (token.kind === "open") open += 1;
      else if (token.kind === "close") open -= 1;
      if (token.kind === "word") {
        if (listed.length > 0 && this.tokens[this.#at - 2]?.kind !== "or") simple = false;
        listed.push(token.value);
      } else if (token.kind === "and" || token.kind === "not" || open > 1) simple = false;
      else if (token.kind === "operator" || token.kind === "wrong") throw new Unreadable();
      if (open + depth > DEEPEST) throw new Unreadable();
      if (open === 0) return { to: token.to, listed: simple && listed.length > 0 ? listed : undefined };
    }
    throw new Unreadable();
  }

  /** Behind the closing parenthesis of a function. */
  #call(depth: number): number {
    this.#take("open");
    for (let open = 1; ;) {
      const token = this.#take();
      if (token.kind === "open") open += 1;
      if (token.kind === "close") open -= 1;
      if (open === 0) return token.to;
      if (open + depth > DEEPEST) throw new Unreadable();
    }
  }

  #peek(): Token | undefined {
    return this.tokens[this.#at];
  }

  #take(kind?: Token["kind"]): Token {
    const token = this.#peek();
    if (!token || !token.closed || token.kind === "wrong" || (kind && token.kind !== kind)) {
      throw new Unreadable();
    }
    this.#at += 1;
    return token;
  }
}

function whole(from: number, to: number): Part {
  return { from, to, negated: false, inner: { from, to } };
}
