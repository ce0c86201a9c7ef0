// Calls of the HTTP API. The shapes of what is sent and answered are those of `/openapi.json`.

import type { components } from "./openapi";

export type Schemas = components["schemas"];

/** What the service answers instead of what was asked. */
export class ApiError extends Error {
  constructor(
    /** Of HTTP; 0 if there was no answer at all. */
    readonly code: number,
    /** As `PERMISSION_DENIED`. */
    readonly status: string,
    message: string,
  ) {
    super(message);
  }
}

/** Who is asked to sign in again; set by the shell. */
export const unauthenticated: { tell: () => void } = { tell: () => {} };

export type Parameters = Record<string, string | number | boolean | undefined>;

/** `path` with those parameters that are set. */
export function address(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

export function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return send<T>(address(path, parameters), { signal });
}

export function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return send<T>(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** The answer as JSON.
 * @throws {ApiError} The service refuses or cannot be reached.
 * @throws {DOMException} `AbortError`, by the signal. */
export async function send<T>(url: string, request: RequestInit): Promise<T> {
  const response = await raw(url, request);
  return (await response.json()) as T;
}

/** As `send`, for answers in other formats. */
export async function raw(url: string, request: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...request });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "UNREACHABLE", "Weir's query service cannot be reached. Is `weir query` running?");
  }
  if (response.ok) return response;
  const problem = await refusal(response);
  if (problem.code === 401) unauthenticated.tell();
  throw problem;
}

async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as Schemas["Error"];
    return new ApiError(response.status, error.status, error.message);
  } catch {
    return new ApiError(response.status, response.statusText, text.slice(0, 500) || response.statusText);
  }
}
