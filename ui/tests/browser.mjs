// What the tests of the pages share: a browser, pages that are watched for whatever must never happen, ways to
// wait, and the API as a reference of what has to be shown.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import axe from "axe-core";
import { chromium } from "playwright-core";

/** Where the service under test is. */
export const service = required("WEIR_URL");
/** How long something may take on a busy machine. */
export const PATIENCE_MS = 60_000;
export const WINDOW = { width: 1440, height: 900 };
/** So many elements are told of a rule that they break. */
const MOST_NODES = 4;
const RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"];

/** A variable of the environment that the tests cannot do without. */
export function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

/** Debian's Chromium. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.WEIR_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** Runs `look` with a page of its own, as of somebody who was never here, and fails on anything that a page must
 * not do whatever is tested: errors, violations of the content security policy, requests to others.
 * @param options For the context, and `expected`: patterns of console messages that this test provokes. */
export async function visit(browser, options, look) {
  const { expected = [], ...rest } = options;
  const context = await browser.newContext({
    viewport: WINDOW,
    timezoneId: "UTC",
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
    ...rest,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  await watch(context, complaints);
  try {
    const page = await context.newPage();
    await look(page, context);
  } finally {
    await context.close();
  }
  const unexpected = complaints.filter((complaint) => !expected.some((pattern) => pattern.test(complaint)));
  assert.deepEqual(unexpected, [], "what the page must not do");
}

async function watch(context, complaints) {
  await context.exposeBinding("reportViolation", (_, text) => complaints.push(`policy: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      const { violatedDirective, blockedURI, sourceFile, lineNumber, sample } = event;
      window.reportViolation(`${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber} ${sample}`);
    });
  });
  context.on("console", (message) => {
    if (message.type() !== "error") return;
    complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  context.on("weberror", (event) => complaints.push(`error: ${event.error().stack ?? event.error()}`));
  context.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol === "data:" || protocol === "blob:") return;
    if (origin !== new URL(service).origin) complaints.push(`request: ${request.url()}`);
  });
  context.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
}

/** Goes to a page of the service and waits for its heading. */
export async function go(page, path, title) {
  await page.goto(service + path);
  await page
    .getByRole("link", { name: title, exact: true })
    .and(page.locator("[aria-current=page]"))
    .waitFor();
  await page.getByRole("heading", { level: 1 }).waitFor({ state: "attached" });
}

/** Signs in as somebody does, from wherever the form is shown. */
export async function signIn(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Waits until nothing is being read any more. */
export function settled(page) {
  return until("the page to be read", async () => {
    const busy = page.locator("[aria-busy=true]");
    const reading = page.locator("main").getByText(/^(Reading|Asking|Loading|Fetching|Still reading|…)/);
    return (await busy.count()) === 0 && (await reading.filter({ visible: true }).count()) === 0;
  });
}

/** The list of a page, and its rows without that of the titles. */
export const list = (page) => page.getByRole("grid");
export const rows = (page) =>
  list(page)
    .getByRole("row")
    .filter({ has: page.getByRole("gridcell") });
export const details = (page) => page.getByRole("complementary", { name: "Details" });

/** Waits until `ask` gives something, and gives that. What it throws is told if it never does. */
export async function until(what, ask, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  let problem;
  for (;;) {
    try {
      const found = await ask();
      if (found) return found;
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`waited in vain for ${what}${problem ? `: ${problem.stack}` : ""}`);
    }
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

/** The parameter of the page's address; "" if there is none. */
export function parameter(page, name) {
  return new URL(page.url()).searchParams.get(name) ?? "";
}

/** Waits until the address has a parameter that passes. */
export function untilParameter(page, name, passes = (value) => value !== "") {
  return until(`the parameter ${name} of ${page.url()}`, () => {
    const value = parameter(page, name);
    return passes(value) && { value };
  }).then(({ value }) => value);
}

/** What is on the clipboard once something is. */
export function clipboard(page) {
  return until("a text on the clipboard", () => page.evaluate(() => navigator.clipboard.readText()));
}

/** What axe finds that keeps people out. It runs last: it changes the page. */
export async function barriers(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(
    (rules) => window.axe.run(document, { runOnly: rules, resultTypes: ["violations"] }),
    RULES,
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, impact, help, nodes }) => {
      const shown = nodes.slice(0, MOST_NODES).map(({ target, html, failureSummary }) => {
        return `  ${target.join(" ")} ${html.slice(0, 150)} ${failureSummary?.replace(/\s+/g, " ")}`;
      });
      return [`${id} (${impact}, ${nodes.length} times): ${help}`, ...shown].join("\n");
    });
}

/** Leaves a picture, if somebody wants them. */
export async function picture(page, name) {
  const folder = process.env.WEIR_PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png` });
}

/** Whether the page as a whole can be pushed sideways. */
export function overflows(page) {
  return page.evaluate(() => {
    const { documentElement: root } = document;
    return Math.max(root.scrollWidth, document.body.scrollWidth) > root.clientWidth;
  });
}

/** What the API answers, to compare the page with. */
export async function api(path, { token, ...request } = {}) {
  const headers = { ...request.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(service + path, { ...request, headers });
  assert.ok(response.ok, `${path}: ${response.status}`);
  return response.json();
}

/** Rows of a query. */
export async function sql(text, token) {
  const body = JSON.stringify({ sql: text });
  const headers = { "content-type": "application/json" };
  return (await api("/api/v1/sql", { method: "POST", body, headers, token })).rows;
}

/** Flows that pass the filter as they happen, each with when it came here, until `signal` ends it. */
export async function* tail(filter, signal) {
  const query = new URLSearchParams({ filter });
  const response = await fetch(`${service}/api/v1/flows/tail?${query}`, { signal });
  assert.ok(response.ok, `tail: ${response.status}`);
  let rest = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const at = Date.now();
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data: {"time"')) yield { flow: JSON.parse(line.slice(6)), at };
    }
  }
}
