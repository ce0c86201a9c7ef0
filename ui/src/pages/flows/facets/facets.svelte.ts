// The values of fields and how much of them there is, for the rail. Of a field that the filter speaks of, the
// values are counted as if it did not, so that one sees what else there would be.

import { get, type Schemas } from "../../../api/client";
import { parts } from "../../../filter/parse";
import { isOf, without } from "../../../filter/chips";
import { Asked } from "../../../state/asked.svelte";
import { keep, recall } from "../../../state/preferences.svelte";
import { view } from "../../../state/view.svelte";

export type Facet = Schemas["Facets"]["facets"][number];

/** What is offered from the start. All but the last two are answered from sums by minutes. */
const FIELDS = [
  "reason",
  "policy",
  "source_namespace",
  "source_workload",
  "destination_namespace",
  "destination_workload",
  "destination_port",
  "protocol",
  "direction",
  "source_kind",
  "destination_kind",
  "destination_service",
  "cluster",
  "node",
  "destination_ip",
] as const;
/** What is open for somebody who comes the first time. */
const OPEN = FIELDS.slice(0, 7);

const FEW = 6;
const MANY = 200;

export interface Asking {
  filter: string;
  fields: string[];
  limit: number;
}

/** The calls that answer for all fields: one for most of them, then one for each that is counted differently. */
export function askings(filter: string, fields: readonly string[], all: readonly string[]): Asking[] {
  const common: string[] = [];
  const own: Asking[] = [];
  for (const field of fields) {
    const free = freed(filter, field);
    if (free === filter && !all.includes(field)) common.push(field);
    else own.push({ filter: free, fields: [field], limit: all.includes(field) ? MANY : FEW });
  }
  return common.length === 0 ? own : [{ filter, fields: common, limit: FEW }, ...own];
}

/** The filter without what it says of a field. */
function freed(filter: string, field: string): string {
  const part = (parts(filter) ?? []).find((candidate) => isOf(candidate, field));
  return part ? freed(without(filter, part), field) : filter;
}

class Rail {
  readonly asked = new Asked<true>();
  #found = $state.raw(new Map<string, { facet: Facet; question: string }>());
  #question = $state("");
  #added = $state.raw(list("facets.added", []));
  #open = $state.raw(list("facets.open", OPEN));
  /** Fields of which more values than a few are shown. */
  all = $state.raw<string[]>([]);

  facet(field: string): Facet | undefined {
    return this.#found.get(field)?.facet;
  }

  /** Whether what is known of a field is about something else than what is asked now. */
  isStale(field: string): boolean {
    const found = this.#found.get(field);
    return found !== undefined && found.question !== this.#question;
  }

  get fields(): string[] {
    return [...FIELDS, ...this.#added];
  }

  isOpen(field: string): boolean {
    return this.#open.includes(field);
  }

  isAdded(field: string): boolean {
    return this.#added.includes(field);
  }

  toggle(field: string): void {
    this.#setOpen(
      this.isOpen(field) ? this.#open.filter((other) => other !== field) : [...this.#open, field],
    );
  }

  add(field: string): void {
    if (!this.fields.includes(field)) {
      this.#added = [...this.#added, field];
      keep("facets.added", JSON.stringify(this.#added));
    }
    if (!this.isOpen(field)) this.#setOpen([...this.#open, field]);
  }

  remove(field: string): void {
    this.#added = this.#added.filter((other) => other !== field);
    keep("facets.added", JSON.stringify(this.#added));
    this.#setOpen(this.#open.filter((other) => other !== field));
  }

  showAll(field: string, shown: boolean): void {
    const others = this.all.filter((other) => other !== field);
    this.all = shown ? [...others, field] : others;
  }

  ask(): void {
    const fields = this.fields.filter((field) => this.isOpen(field));
    const { since, until } = view.parameters;
    const calls = askings(view.filter, fields, this.all).map((asking) => ({
      ...asking,
      filter: view.queryOf(asking.filter),
      fields: asking.fields.join(","),
      since,
      until,
    }));
    const question = JSON.stringify([view.query, since, until]);
    this.#question = question;
    void this.asked.ask(async (signal) => {
      // One after the other: the flows themselves are waited for too.
      for (const call of calls) {
        const { facets } = await get<Schemas["Facets"]>("/api/v1/facets", call, signal);
        if (signal.aborted) break;
        const found = facets.map((facet) => [facet.field, { facet, question }] as const);
        this.#found = new Map([...this.#found, ...found]);
      }
      return true;
    });
  }

  #setOpen(open: string[]): void {
    this.#open = open;
    keep("facets.open", JSON.stringify(open));
  }
}

/** A kept list of names; what is no such list was written by nobody here. */
function list(name: string, otherwise: readonly string[]): string[] {
  try {
    const found: unknown = JSON.parse(recall(name) ?? "null");
    if (Array.isArray(found)) return found.filter((entry) => typeof entry === "string");
  } catch {
    // Then as for somebody new.
  }
  return [...otherwise];
}

export const rail = new Rail();
