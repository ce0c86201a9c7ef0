import { afterEach, describe, expect, it, vi } from "vitest";
import type { Flow } from "../flow";
import { FlowList, MOST_LIVE_ROWS } from "./list.svelte";

const flow = (n: number) =>
  ({
    time: `2026-11-28T12:00:00.${String(n).padStart(9, "0")}Z`,
    connection_id: String(n),
    node: "n",
    cluster: "c",
    direction: "egress",
    state: "open",
  }) as Flow;

/** A store of flows of the nanoseconds 1 to `count`. */
function serve(count: number, more: object = {}): URL[] {
  const asked: URL[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    const url = new URL(path, "http://weir");
    asked.push(url);
    const until = url.searchParams.get("until");
    const limit = Number(url.searchParams.get("limit"));
    const all = Array.from({ length: count }, (_, n) => flow(count - n));
    const rows = all.filter(({ time }) => !until || time < until).slice(0, limit);
    return new Response(JSON.stringify({ rows, ...more }));
  });
  return asked;
}

afterEach(() => vi.unstubAllGlobals());

describe("the list", () => {
  it("goes on with older rows to the end, each once", async () => {
    const asked = serve(2_500);
    const list = new FlowList();
    await list.load({ filter: "x" });
    expect(list.rows).toHaveLength(200);
    expect(list.more).toBe(true);
    while (list.more) await list.loadOlder();
    expect(list.rows.map(({ connection_id }) => Number(connection_id))).toEqual(
      Array.from({ length: 2_500 }, (_, n) => 2_500 - n),
    );
    expect(asked.every((url) => url.searchParams.get("filter") === "x")).toBe(true);
    await list.loadOlder();
    expect(asked).toHaveLength(3);
  });

  it("keeps what comes before the first page, and no more than it says", async () => {
    serve(3);
    const list = new FlowList();
    const loading = list.load({});
    list.add([flow(5), flow(3)]);
    await loading;
    expect(list.rows.map(({ connection_id }) => connection_id)).toEqual(["5", "3", "2", "1"]);
    expect(list.trimmed).toBe(false);
    list.add(Array.from({ length: MOST_LIVE_ROWS }, (_, n) => flow(10 + n)));
    expect(list.rows).toHaveLength(MOST_LIVE_ROWS);
    expect(list.rows[0]?.connection_id).toBe(String(9 + MOST_LIVE_ROWS));
    expect(list.trimmed && list.more).toBe(true);
  });

  it("says when an answer broke off", async () => {
    serve(3, { error: { code: 500, status: "INTERNAL", message: "the disk is gone" } });
    const list = new FlowList();
    await list.load({});
    expect(list.rows).toEqual([]);
    expect((list.first.problem as Error).message).toBe("the disk is gone");
  });
});
