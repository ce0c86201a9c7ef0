// What clicks on values do to the filter and the view.

import { exclude as excludeOne, only } from "../../../filter/chips";
import { andNot } from "../../../filter/edit";
import { VERDICTS, view, type VerdictName } from "../../../state/view.svelte";
import { condition } from "../selection";
import type { Values } from "./ends";

/** Only flows with these values. */
export function include(values: Values): void {
  const verdict = verdictOf(values);
  if (verdict) view.setVerdicts([verdict]);
  else if (values.length > 0) view.setFilter(including(view.filter, values));
}

/** Flows with these values no more. */
export function exclude(values: Values): void {
  const verdict = verdictOf(values);
  const others = view.verdicts.filter((other) => other !== verdict);
  if (verdict && others.length > 0) view.setVerdicts(others);
  else if (values.length > 0) view.setFilter(excluding(view.filter, values));
}

export function including(filter: string, values: Values): string {
  return values.reduce((text, [field, value]) => only(text, field, value), filter);
}

export function excluding(filter: string, values: Values): string {
  const [first, ...more] = values;
  if (first && more.length === 0) return excludeOne(filter, ...first);
  return andNot(filter, values.map(([field, value]) => condition(field, value)).join(" "));
}

function verdictOf(values: Values): VerdictName | undefined {
  const [field, value] = values.length === 1 ? values[0]! : [];
  return field === "verdict" ? VERDICTS.find((verdict) => verdict === value) : undefined;
}
