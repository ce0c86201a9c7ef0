import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Flow } from "../flow";
import { EventReader, type ServerEvent } from "./events";
import { Live, MOST_WAITING, SHOWN_PER_SECOND } from "./live.svelte";
import { Pace, paceText } from "./pace";

describe("server-sent events", () => {
  const read = (...pieces: string[]) => {
    const events: ServerEvent[] = [];
    const reader = new EventReader((event) => events.push(event));
    pieces.forEach((piece) => reader.read(piece));
    return { events, position: reader.position };
  };

  it("are read however they are cut", () => {
    const whole =
      'id: 7:1\n\ndata: {"a":1}\n\n: still here\n\nevent: missed\ndata: {"batches":2}\nid: 7:9\n\ndata: half';
    const expected = {
      events: [
        { name: "message", data: '{"a":1}' },
        { name: "missed", data: '{"batches":2}' },
      ],
      position: "7:9",
    };
    expect(read(whole)).toEqual(expected);
    expect(read(...whole)).toEqual(expected);
    expect(read(...whole.replaceAll("\n", "\r\n").match(/.{1,3}/gs)!)).toEqual(expected);
  });
});

describe("pace", () => {
  it("counts all and takes what the rate allows, evenly", () => {
    const pace = new Pace(200, 0);
    let taken = 0;
    for (let row = 0; row < 6_000; row += 1) taken += pace.take(row / 2) ? 1 : 0;
    pace.read(3_000);
    expect(taken).toBeGreaterThanOrEqual(780);
    expect(taken).toBeLessThanOrEqual(800);
    expect(pace.rate).toBe(2_000);
    expect(paceText(3_214, 200)).toBe("3,214/s, showing 200/s");
    expect(paceText(12, 12)).toBe("12/s");
  });
});

describe("what comes while somebody looks", () => {
  let send: (text: string) => void;
  let asked: string[];
  let answers: (() => Response)[];

  beforeEach(() => {
    vi.useFakeTimers();
    asked = [];
    answers = [];
    vi.stubGlobal("fetch", (url: string) => {
      asked.push(url);
      const answer = answers.shift();
      if (answer) return Promise.resolve(answer());
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          send = (text) => controller.enqueue(new TextEncoder().encode(text));
        },
      });
      return Promise.resolve(new Response(body));
    });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const row = (n: number) => `data: {"time":"${n}"}\n\n`;

  it("is shown within a second, and waits while somebody reads", async () => {
    const live = new Live();
    const shown: Flow[] = [];
    let held = false;
    const end = live.run(
      'verdict="deny"',
      (rows) => shown.unshift(...rows),
      () => held,
    );
    await vi.advanceTimersByTimeAsync(10);
    expect(live.joined).toBe(true);
    send(row(1) + row(2));
    await vi.advanceTimersByTimeAsync(300);
    expect(shown.map(({ time }) => time)).toEqual(["2", "1"]);
    held = true;
    send(row(3) + row(4));
    await vi.advanceTimersByTimeAsync(300);
    expect(shown).toHaveLength(2);
    expect(live.waiting).toBe(2);
    held = false;
    await vi.advanceTimersByTimeAsync(300);
    expect(shown.map(({ time }) => time)).toEqual(["4", "3", "2", "1"]);
    expect(live.waiting).toBe(0);
    end();
  });

  it("keeps no more than it says, and counts what it let go", async () => {
    const live = new Live();
    let shown = 0;
    const end = live.run(
      "",
      (rows) => (shown += rows.length),
      () => true,
    );
    await vi.advanceTimersByTimeAsync(10);
    for (let second = 0; second < 25; second += 1) {
      send(Array.from({ length: 400 }, (_, n) => row(n)).join(""));
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(live.waiting).toBe(10_000);
    expect(live.rate).toBe(`400/s, showing ${SHOWN_PER_SECOND}/s`);
    live.release((rows) => (shown += rows.length));
    expect(shown).toBeLessThan(2 * MOST_WAITING);
    expect(shown + live.skipped).toBe(10_000);
    end();
  });

  it("comes again behind the last position and says what it missed", async () => {
    const live = new Live();
    answers.push(
      () => new Response(`${row(1)}id: 9:1\n\n`),
      () => new Response('{"error":{"code":503,"status":"UNAVAILABLE","message":"soon"}}', { status: 503 }),
    );
    const end = live.run(
      "",
      () => {},
      () => false,
    );
    await vi.advanceTimersByTimeAsync(50);
    expect(live.joined).toBe(false);
    expect(live.trouble).toBe("The service ended the stream.");
    await vi.advanceTimersByTimeAsync(600);
    expect(live.trouble).toBe("soon");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(live.joined).toBe(true);
    expect(asked.at(-1)).toBe("/api/v1/flows/tail?after=9%3A1");
    send(
      'event: missed\ndata: {"batches":3,"rows":40}\n\nevent: missed\ndata: {"batches":1,"rows":null}\n\n',
    );
    await vi.advanceTimersByTimeAsync(50);
    expect(live.missed).toEqual({ batches: 4, rows: 40 });
    end();
  });

  it("does not come again to a filter that is refused", async () => {
    const live = new Live();
    answers.push(
      () =>
        new Response('{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"no"}}', { status: 400 }),
    );
    const end = live.run(
      "(",
      () => {},
      () => false,
    );
    await vi.advanceTimersByTimeAsync(60_000);
    expect(live.ended).toBe(true);
    expect(asked).toHaveLength(1);
    end();
  });
});
