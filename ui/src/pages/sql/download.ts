// Results as files.

export interface Format {
  /** As the service calls it. */
  id: "csv" | "parquet" | "arrow";
  title: string;
  extension: string;
  about: string;
}

export const FORMATS: readonly Format[] = [
  { id: "csv", title: "CSV", extension: "csv", about: "text, for spreadsheets" },
  { id: "parquet", title: "Parquet", extension: "parquet", about: "columns with types, compressed" },
  { id: "arrow", title: "Arrow", extension: "arrows", about: "an IPC stream with types" },
];

/** `weir-2026-11-28T140307Z.csv`: colons are not for file names. */
export function fileName(format: Format, now: Date): string {
  const time = now.toISOString().replace(/\.\d+/, "").replaceAll(":", "");
  return `weir-${time}.${format.extension}`;
}

/** The same from a shell. */
export function curl(sql: string, origin: string): string {
  const body = JSON.stringify({ sql }).replaceAll("'", "'\\''");
  return `curl -s '${origin}/api/v1/sql' -H 'content-type: application/json' -d '${body}'`;
}
