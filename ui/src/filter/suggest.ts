// What may be completed at a place in a filter: the name of a field, or a value of one.

import { quoted, type FieldValue } from "./edit";
import { written } from "./chips";
import { tokens, type Token } from "./tokens";

export type Context =
  | { kind: "field"; typed: string; from: number; to: number }
  | { kind: "value"; field: string; typed: string; from: number; to: number };

/** What stands at the caret; nothing inside of comments and operators. */
export function contextAt(text: string, caret: number): Context | undefined {
  const before: Token[] = [];
  let touched: Token | undefined;
  for (const token of tokens(text)) {
    if (token.to < caret || (token.to === caret && !holds(token))) before.push(token);
    else {
      if (token.from < caret) touched = token;
      break;
    }
  }
  if (touched && touched.kind !== "word") return undefined;
  const from = touched?.from ?? caret;
  // Behind the caret of a word that goes on, what follows is replaced too.
  const to = touched?.to ?? caret;
  const typed = touched ? (tokens(text.slice(from, caret))[0]?.value ?? "") : "";
  const field = comparedField(before);
  if (field !== undefined) return { kind: "value", field, typed, from, to };
  if (touched?.quoted && !touched.value.includes(".")) return undefined;
  return { kind: "field", typed, from, to };
}

/** The text and caret after a choice. */
export function chosen(text: string, context: Context, choice: FieldValue): { text: string; caret: number } {
  const head = text.slice(0, context.from);
  const rest = text.slice(context.to);
  const word = context.kind === "value" ? quoted(choice) : fieldWord(String(choice), rest);
  const space = context.kind === "value" && !/^[\s)]/.test(rest) && !isInList(head) ? " " : "";
  const tail = space === "" ? rest : rest.trimStart();
  return { text: head + word + space + tail, caret: head.length + word.length + space.length };
}

function fieldWord(field: string, rest: string): string {
  return written(field) + (/^\s*[=!<>:~]/.test(rest) || field.endsWith(".") ? "" : "=");
}

/** Whether a caret at a token's end still belongs to it. */
function holds(token: Token): boolean {
  return token.kind === "word" && !(token.quoted && token.closed);
}

/** The field of which a value is due behind these tokens. */
function comparedField(before: Token[]): string | undefined {
  const open: (string | undefined)[] = [];
  let due: string | undefined;
  before.forEach((token, index) => {
    const field = due;
    due = undefined;
    if (token.kind === "operator") {
      const left = before[index - 1];
      if (left?.kind === "word") due = left.value;
    } else if (token.kind === "open") open.push(field);
    else if (token.kind === "close") open.pop();
  });
  return due ?? open.at(-1);
}

function isInList(head: string): boolean {
  return (
    tokens(head).reduce((depth, { kind }) => depth + Number(kind === "open") - Number(kind === "close"), 0) >
    0
  );
}
