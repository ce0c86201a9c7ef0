// Groups that are asked for again and again, without moving what somebody looks at.

import type { Group } from "../flow";
import { groupKey } from "../selection";

const SORTS = ["count", "first_seen", "last_seen", "bytes", "reply_bytes"] as const;
export type GroupSort = (typeof SORTS)[number];

/** What the address says: `last_seen`, or `last_seen:asc`; without a word the largest counts are first. */
export function sortOf(text: string): { by: GroupSort; descending: boolean; known: boolean } {
  const [name, way] = (text || "count").split(":");
  const by = SORTS.find((sort) => sort === name);
  const known = by !== undefined && (way === undefined || way === "asc");
  return { by: by ?? "count", descending: !known || way !== "asc", known };
}

const keys = new WeakMap<Group, string>();

/** The key of a group, made once. */
export function keyOf(group: Group): string {
  let key = keys.get(group);
  if (key === undefined) keys.set(group, (key = groupKey(group)));
  return key;
}

export interface Settled {
  groups: Group[];
  /** Groups that are new and wait. */
  waiting: number;
}

/** What to show of `latest` while `shown` is looked at: the same groups in the same places, with their new numbers.
 * A group that is gone keeps its place and its last numbers until nobody looks. */
export function settled(shown: readonly Group[], latest: readonly Group[]): Settled {
  const byKey = new Map(latest.map((group) => [keyOf(group), group]));
  const known = new Set(shown.map(keyOf));
  return {
    groups: shown.map((group) => byKey.get(keyOf(group)) ?? group),
    waiting: latest.filter((group) => !known.has(keyOf(group))).length,
  };
}

/** In the order that was asked for; where two are equal, as the service has them. */
export function sorted(groups: readonly Group[], by: GroupSort, descending: boolean): Group[] {
  const way = descending ? -1 : 1;
  return [...groups].sort((left, right) => {
    const [a, b] = [left[by], right[by]];
    return a < b ? -way : a > b ? way : 0;
  });
}
