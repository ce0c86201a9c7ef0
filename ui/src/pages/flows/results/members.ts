// From a group to its rows: a filter that somebody can read, with no more fields than it takes.

import type { Group } from "../flow";
import { GROUP_FIELDS, type GroupField } from "../selection";
import type { Values } from "./ends";

const ALWAYS: readonly GroupField[] = ["verdict", "policy", "destination_port"];

/** What flows of the group have in common. Fields that say nothing more are left out, as long as no other group of
 * `all` is told from this one by them; where not all groups are known, nothing is left out. */
export function membersOf(group: Group, all: readonly Group[], truncated: boolean): Values {
  const essential: GroupField[] = [...ends(group), ...ALWAYS];
  const alike = all.filter((other) => essential.every((field) => other[field] === group[field]));
  const needed = GROUP_FIELDS.filter(
    (field) =>
      !essential.includes(field) && (truncated || alike.some((other) => other[field] !== group[field])),
  );
  return [...essential, ...needed].map((field) => [field, group[field]]);
}

function ends(group: Group): GroupField[] {
  return (["source", "destination"] as const).flatMap((side): GroupField[] => [
    ...(group[`${side}_namespace`] === null ? [] : [`${side}_namespace` as const]),
    group[`${side}_workload`] === null ? `${side}_kind` : `${side}_workload`,
  ]);
}
