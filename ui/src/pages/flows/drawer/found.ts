// What the address selects, read again from the API: a row, or a group with its latest row.

import { get, type Schemas } from "../../../api/client";
import { and } from "../../../filter/edit";
import type { Flow, Group } from "../flow";
import { filterOf, isSelected, type Selection } from "../selection";

/** What the view asks with, for groups: they are looked at in its time and by its filter. */
export interface Looked {
  filter: string;
  since: string;
  until: string | undefined;
}

export interface Found {
  /** The row; of a group, its latest one. Null if there is none. */
  flow: Flow | null;
  /** Null where a row is selected, or where the group has nothing in that time. */
  group: Group | null;
}

/** The filter does not tell upper from lower case, so that more may come than was asked for. */
const ENOUGH = 50;

export async function find(selection: Selection, looked: Looked, signal: AbortSignal): Promise<Found> {
  const question = filterOf(selection);
  if (selection.kind === "row") {
    const flow = await flows({ ...question, until: question.until }, selection, signal);
    return { flow, group: null };
  }
  const asked = { ...looked, filter: and(looked.filter, question.filter) };
  const [groups, flow] = await Promise.all([
    get<Schemas["Groups"]>("/api/v1/groups", { ...asked, limit: ENOUGH }, signal),
    flows(asked, selection, signal),
  ]);
  return { flow, group: groups.groups.find((group) => isSelected(selection, group)) ?? null };
}

async function flows(
  asked: { filter: string; since?: string; until?: string },
  selection: Selection,
  signal: AbortSignal,
): Promise<Flow | null> {
  const answer = await get<Schemas["Rows"]>("/api/v1/flows", { ...asked, limit: ENOUGH }, signal);
  const rows = answer.rows as unknown as Flow[];
  return rows.find((row) => isSelected(selection, row)) ?? null;
}
