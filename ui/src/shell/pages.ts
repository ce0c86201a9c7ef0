// The pages, in the order of the navigation. Each is a file of its own, loaded when somebody goes there.

import type { Component } from "svelte";

export interface Page {
  path: string;
  title: string;
  /** What takes one there, see `state/shortcuts`. */
  keys: string;
  load: () => Promise<{ default: Component }>;
}

export const pages: Page[] = [
  { path: "/", title: "Flows", keys: "g f", load: () => import("../pages/flows/Flows.svelte") },
  { path: "/map", title: "Map", keys: "g m", load: () => import("../pages/map/Map.svelte") },
  {
    path: "/policies",
    title: "Policies",
    keys: "g p",
    load: () => import("../pages/policies/Policies.svelte"),
  },
  { path: "/reach", title: "Can A reach B?", keys: "g r", load: () => import("../pages/reach/Reach.svelte") },
  { path: "/sql", title: "SQL", keys: "g s", load: () => import("../pages/sql/Sql.svelte") },
  { path: "/status", title: "Status", keys: "g t", load: () => import("../pages/status/Status.svelte") },
];

export function pageOf(path: string): Page | undefined {
  return pages.find((page) => page.path === path);
}
