// What the editor offers: tables, columns of the tables that the statement names, and Weir's own functions.

import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { Schemas } from "../../api/client";

export type Table = Schemas["Tables"]["tables"][number];

/** Beyond the usual ones of SQL. */
const FUNCTIONS: Completion[] = [
  ["ip_in_net", "(address, '10.0.0.0/8')", "Whether an address, or one of a list, is in the network"],
  ["host_of", "(names, address)", "The first name that is known, or the address"],
  ["time_bucket", "('5m', time)", "The begin of the interval; ns us ms s m h d"],
  ["label", "(labels, 'app')", "A label, or null"],
  ["policy_field", "(policies, 'name')", "A list of kind, namespace or name"],
  ["text_search", "(column, 'words')", "Whether the words are in it"],
  ["text_equal", "(column, 'text')", "Equal, without regard to case"],
  ["text_has", "(column, 'text')", "Whether it has the text, without regard to case"],
  ["text_matches", "(column, 'expression')", "Whether a regular expression matches"],
  ["regexp_extract", "(column, '^([a-z]+)-')", "What is in the parentheses"],
  ["date_trunc", "('minute', time)", "The begin of the minute, hour, day"],
].map(([label, detail, info]) => ({ label: label!, detail, info, type: "function" }));

/** Columns of the tables that the text names, each once; of `flows` if it names none. */
export function columnsFor(tables: readonly Table[], text: string): Completion[] {
  const named = tables.filter(({ name }) => new RegExp(`\\b${name}\\b`, "i").test(text));
  const chosen = named.length > 0 ? named : tables.filter(({ name }) => name === "flows");
  const columns = new Map<string, Completion>();
  for (const table of chosen) {
    for (const { name, type, doc } of table.columns) {
      if (columns.has(name)) continue;
      columns.set(name, { label: name, detail: type, info: doc, type: "property", boost: 1 });
    }
  }
  return [...columns.values()];
}

/** For CodeMirror. */
export function complete(tables: readonly Table[]) {
  return (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/\w*/);
    if (!word || (word.from === word.to && !context.explicit)) return null;
    const before = context.state.sliceDoc(Math.max(0, word.from - 1), word.from);
    // Behind a point are columns of one table: the language knows these.
    if (before === "." || before === "'") return null;
    const options = [...columnsFor(tables, context.state.doc.toString()), ...FUNCTIONS];
    return { from: word.from, options, validFor: /^\w*$/ };
  };
}
