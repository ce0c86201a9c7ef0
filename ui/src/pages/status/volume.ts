// What flows take a day, from what they took in a time that is stored.

export const DAY_SECONDS = 86_400;

/** How much of the time that was asked for has flows at all: a young store has not been there all the time. */
export function covered(from: string, until: string, first: string | null): number {
  const [begin, end] = [Date.parse(from), Date.parse(until)];
  const known = first === null ? begin : Math.max(begin, Date.parse(first));
  return Math.max(1, (end - known) / 1_000);
}

export function aDay(amount: number, seconds: number): number {
  return Math.round((amount / seconds) * DAY_SECONDS);
}
