// Follows new flows until it is stopped: joins again after what went wrong, behind the last position, and tells
// whatever must be known meanwhile.

import { ApiError, address, raw } from "../../../api/client";
import { EventReader, type ServerEvent } from "./events";

export interface Listener {
  /** A row, as JSON. Parsing is up to whoever shows it: most rows of a flood are only counted. */
  row: (json: string) => void;
  /** Batches that did not come, and rows as far as they are known. */
  missed: (batches: number, rows: number | null) => void;
  /** Something does not work at the service, or the filter says something that is probably not meant. */
  told: (message: string) => void;
  joined: () => void;
  /** Not joined; the next attempt is after so many milliseconds, or never. */
  left: (why: string, again: number | null) => void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** Refusals that no waiting mends. */
const FINAL = [400, 401, 403, 404];

/** @returns What ends it. */
export function follow(filter: string, listener: Listener): () => void {
  const ending = new AbortController();
  void run(filter, listener, ending.signal);
  return () => ending.abort();
}

async function run(filter: string, listener: Listener, signal: AbortSignal): Promise<void> {
  const reader = new EventReader((event) => hear(event, listener));
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let why = "The service ended the stream.";
    try {
      const response = await raw(address("/api/v1/flows/tail", { filter, after: reader.position }), {
        signal,
        headers: { accept: "text/event-stream" },
        cache: "no-store",
      });
      listener.joined();
      pause = FIRST_PAUSE_MS;
      await pour(response, reader, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && FINAL.includes(error.code)) return listener.left(error.message, null);
      if (error instanceof ApiError) why = error.message;
    }
    if (signal.aborted) return;
    listener.left(why, pause);
    await rest(pause, signal);
    pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
  }
}

async function pour(response: Response, reader: EventReader, signal: AbortSignal): Promise<void> {
  const bytes = response.body?.getReader();
  if (!bytes) return;
  const text = new TextDecoder();
  reader.begin();
  for (;;) {
    const { done, value } = await bytes.read();
    if (done || signal.aborted) return;
    reader.read(text.decode(value, { stream: true }));
  }
}

function hear({ name, data }: ServerEvent, listener: Listener): void {
  if (name === "message") return listener.row(data);
  const said = JSON.parse(data) as { batches?: number; rows?: number | null; message?: string };
  if (name === "missed") listener.missed(said.batches ?? 0, said.rows ?? null);
  else if (said.message) listener.told(said.message);
}

function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (window.clearTimeout(timer), resolve()), { once: true });
  });
}
