// What the palette offers: everything that one would otherwise look for.

import { include } from "../filter/chips";
import { knownFields, suggestions } from "../filter/names";
import { location } from "../state/location.svelte";
import { preferences } from "../state/preferences.svelte";
import { label, PRESETS } from "../state/range";
import { exact } from "../state/time";
import { VERDICTS, view, type VerdictName } from "../state/view.svelte";
import { pages } from "./pages";

export interface Command {
  /** What kind of thing it is: shown before the title. */
  kind: string;
  title: string;
  about?: string;
  /** What does it; or further commands, among which one is chosen next. */
  run?: () => void;
  next?: (typed: string, signal: AbortSignal) => Promise<Command[]>;
}

/** Pages that show what the filter says. */
const FILTERED = ["/", "/map"];
const VERDICT_TITLES: [string, readonly VerdictName[]][] = [
  ["What was or would be denied", ["deny", "audit"]],
  ["Denied only", ["deny"]],
  ["Would be denied only", ["audit"]],
  ["Allowed only", ["allow"]],
  ["All verdicts", VERDICTS],
];

export function commands(): Command[] {
  const themes = [
    ["system", "Colours as the system"],
    ["light", "Light colours"],
    ["dark", "Dark colours"],
  ] as const;
  return [
    ...pages.map(({ path, title, keys }) => {
      const run = () => location.go(location.with({ selected: undefined, tab: undefined }, path));
      return { kind: "Go to", title, about: keys, run };
    }),
    ...PRESETS.map((since) => {
      return { kind: "Time", title: label({ since, until: "" }), run: () => view.setRange(since) };
    }),
    ...VERDICT_TITLES.map(([title, verdicts]) => {
      return { kind: "Verdicts", title, run: () => view.setVerdicts(verdicts) };
    }),
    { kind: "Filter", title: "Remove the filter", run: () => view.setFilter("") },
    ...themes.map(([theme, title]) => ({ kind: "Show", title, run: () => preferences.setTheme(theme) })),
    { kind: "Show", title: "Times in UTC", run: () => preferences.setUtc(true) },
    { kind: "Show", title: "Local times", run: () => preferences.setUtc(false) },
  ];
}

/** One for each field, that leads to its values. */
export async function filters(): Promise<Command[]> {
  const fields = await knownFields();
  const columns = fields.filter(({ name }) => !name.includes("."));
  return columns.map(({ name, about }) => ({
    kind: "Filter on",
    title: name,
    about,
    next: (typed, signal) => values(name, typed, signal),
  }));
}

async function values(field: string, typed: string, signal: AbortSignal): Promise<Command[]> {
  const context = { kind: "value", field, typed, from: 0, to: 0 } as const;
  const { items } = await suggestions(context, signal);
  const found = items.map(({ value, count }) => command(field, value, exact(count ?? 0)));
  const isListed = items.some(({ value }) => String(value) === typed);
  return typed === "" || isListed ? found : [...found, command(field, typed, "as typed")];
}

function command(field: string, value: string | number, about: string): Command {
  const run = () => {
    const filter = include(view.filter, field, value);
    const path = FILTERED.includes(location.path) ? location.path : "/";
    location.go(location.with({ filter, selected: undefined }, path));
  };
  return { kind: "is", title: String(value), about, run };
}

/** Those that have every word, the ones whose title begins with the first word before the others. */
export function matching(all: readonly Command[], typed: string): Command[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const [first] = words;
  if (first === undefined) return [...all];
  const found = all.filter(({ kind, title }) => {
    const text = `${kind} ${title}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const begins = (command: Command) => command.title.toLowerCase().startsWith(first);
  return [...found.filter(begins), ...found.filter((command) => !begins(command))];
}
