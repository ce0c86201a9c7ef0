// What can be completed: fields, keys of labels, values in the data of the time that is looked at.

import { get, post, type Schemas } from "../api/client";
import type { FieldValue } from "./edit";
import type { Context } from "./suggest";
import { view } from "../state/view.svelte";

export interface Suggestion {
  value: FieldValue;
  /** What it means, or how often it is there. */
  about: string;
  count?: number;
}

export interface Suggestions {
  items: Suggestion[];
  /** How many there are that are not listed. */
  more: number;
}

interface Field {
  name: string;
  about: string;
}

const MOST = 12;
const LABELS = ["source_labels", "destination_labels"] as const;
const NONE: Suggestions = { items: [], more: 0 };

let fields: Promise<Field[]> | undefined;
const keys = new Map<string, Promise<Suggestion[]>>();

/** What fits at a place in the filter. */
export async function suggestions(context: Context, signal: AbortSignal): Promise<Suggestions> {
  if (context.kind === "value") return await values(context.field, context.typed, signal);
  const labels = LABELS.find((column) => context.typed.toLowerCase().startsWith(`${column}.`));
  if (labels) {
    const found = await labelKeys(labels);
    return first(matching(found, context.typed));
  }
  const known = await knownFields();
  return first(
    matching(
      known.map(({ name, about }) => ({ value: name, about })),
      context.typed,
    ),
  );
}

/** Those that begin so before those that only have it in them. */
export function matching(all: readonly Suggestion[], typed: string): Suggestion[] {
  const wanted = typed.toLowerCase();
  const place = ({ value }: Suggestion) => String(value).toLowerCase().indexOf(wanted);
  return [
    ...all.filter((suggestion) => place(suggestion) === 0),
    ...all.filter((suggestion) => place(suggestion) > 0),
  ];
}

function first(found: readonly Suggestion[]): Suggestions {
  return { items: found.slice(0, MOST), more: Math.max(found.length - MOST, 0) };
}

/** Names of fields with what they mean. */
export async function knownFields(): Promise<Field[]> {
  fields ??= readFields();
  try {
    return await fields;
  } catch {
    // The next keystroke tries again.
    fields = undefined;
    return [];
  }
}

async function readFields(): Promise<Field[]> {
  const schema = await get<Schemas["Tables"]>("/api/v1/schema");
  const columns = schema.tables.find(({ name }) => name === "flows")?.columns ?? [];
  const about = new Map(columns.map(({ name, doc }) => [name, doc]));
  const labels = LABELS.map((column) => `${column}.`);
  return [...schema.filter_names, ...labels].map((name) => {
    return { name, about: about.get(name.replace(/\.$/, "")) ?? "" };
  });
}

async function values(field: string, typed: string, signal: AbortSignal): Promise<Suggestions> {
  const { since, until } = view.parameters;
  const parameters = { fields: field, prefix: typed, limit: MOST, since, until };
  try {
    const { facets } = await get<Schemas["Facets"]>("/api/v1/facets", parameters, signal);
    const [facet] = facets;
    if (!facet) return NONE;
    const items = facet.values.filter(({ value }) => value !== "");
    return {
      items: items.map(({ value, count }) => ({ value, about: "", count })),
      more: facet.distinct - facet.values.length,
    };
  } catch {
    // Values of times and lists cannot be listed, and what is wrong with the name is said below the text.
    return NONE;
  }
}

/** The keys that labels had lately, the most frequent first. */
function labelKeys(column: (typeof LABELS)[number]): Promise<Suggestion[]> {
  const known = keys.get(column);
  if (known) return known;
  const found = readKeys(column).catch(() => {
    keys.delete(column);
    return [];
  });
  keys.set(column, found);
  return found;
}

async function readKeys(column: string): Promise<Suggestion[]> {
  const sql = `select unnest(map_keys(${column})) as key, sum(count) as count from flows
    where time > now() - interval '1 hour' group by 1 order by 2 desc limit 200`;
  const { rows } = await post<{ rows: { key: string; count: number }[] }>("/api/v1/sql", { sql });
  return rows.map(({ key, count }) => ({ value: `${column}.${key}`, about: "", count }));
}
