import { createRawSnippet, flushSync, mount, tick, unmount } from "svelte";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import Grid from "./Grid.svelte";
import { GridState } from "./grid.svelte";

const columns = ["one", "two"].map((id) => ({
  id,
  title: id,
  width: 100,
  text: (row: number) => `${id} ${row}`,
}));

beforeEach(() => {
  vi.stubGlobal(
    "ResizeObserver",
    class {
      observe() {}
      unobserve() {}
      disconnect() {}
    },
  );
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(300);
  HTMLElement.prototype.scrollTo = function (this: HTMLElement, options?: ScrollToOptions | number) {
    this.scrollTop = typeof options === "object" ? (options.top ?? 0) : 0;
    this.dispatchEvent(new Event("scroll"));
  } as typeof HTMLElement.prototype.scrollTo;
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  document.body.replaceChildren();
});

it("is a grid of which a few rows are drawn and one cell is reached by Tab", async () => {
  const entered: number[] = [];
  const state = new GridState();
  const grid = mount(Grid<number, (typeof columns)[number]>, {
    target: document.body,
    props: {
      label: "numbers",
      columns,
      rows: Array.from({ length: 5_000 }, (_, row) => row),
      keyOf: String,
      total: 5_000,
      widths: {},
      rowHeight: 30,
      state,
      cell: createRawSnippet<[number, (typeof columns)[number]]>((row, column) => ({
        render: () => `<i>${column().text(row())}</i>`,
      })),
      onresize: () => {},
      onmove: () => {},
      onclick: () => {},
      onenter: (row: number) => entered.push(row),
    },
  });
  flushSync();
  await tick();
  const root = document.querySelector<HTMLElement>("[role=grid]")!;
  const rows = () => [...root.querySelectorAll("[role=row]")];
  const press = async (key: string, ctrlKey = false) => {
    document.activeElement!.dispatchEvent(new KeyboardEvent("keydown", { key, ctrlKey, bubbles: true }));
    flushSync();
    await tick();
    await tick();
  };
  expect(root.getAttribute("aria-rowcount")).toBe("5001");
  expect(rows().length).toBeLessThan(40);
  const stops = () => [...root.querySelectorAll<HTMLElement>('[tabindex="0"]')];
  expect(stops().map((cell) => cell.textContent?.trim())).toEqual(["one 0"]);

  stops()[0]!.focus();
  await press("ArrowDown");
  await press("ArrowRight");
  expect(document.activeElement?.textContent?.trim()).toBe("two 1");
  expect(stops()).toHaveLength(1);
  expect(state.focused).toBe(true);
  await press("End", true);
  expect(document.activeElement?.textContent?.trim()).toBe("two 4999");
  expect(document.activeElement?.parentElement?.getAttribute("aria-rowindex")).toBe("5001");
  await press("Enter");
  expect(entered).toEqual([4_999]);
  // Far away from it, the row with the focus is still there.
  root.scrollTop = 0;
  root.dispatchEvent(new Event("scroll"));
  flushSync();
  await tick();
  expect(document.activeElement?.textContent?.trim()).toBe("two 4999");
  expect(rows().some((row) => row.getAttribute("aria-rowindex") === "2")).toBe(true);
  await unmount(grid);
}, 30_000);
