// What the pages cost whoever looks at them, over a service with many flows while more arrive. Prints the tables
// for docs/PERFORMANCE.md. `weir bench pages` starts the service.

import { launch, list, required, rows, service, settled, untilParameter, WINDOW } from "./browser.mjs";

const minutes = Number(required("WEIR_MINUTES"));
const VISITS = 7;
const SCROLL_FRAMES = 300;
const STEP_PIXELS = 120;

const middle = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const ms = (value) => value.toFixed(0);
const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

const browser = await launch();
try {
  await firstView();
  await echo();
  await scroll();
  await memory();
} finally {
  await browser.close();
}

/** A page of somebody who was never here. */
async function visitor() {
  const context = await browser.newContext({ viewport: WINDOW, timezoneId: "UTC" });
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  return { context, page, client };
}

/** From the address until denied groups are in the list, and what was fetched until then. */
async function firstView() {
  const took = [];
  let fetched = 0;
  for (let visit = 0; visit < VISITS; visit += 1) {
    const { context, page, client } = await visitor();
    const files = new Set();
    fetched = 0;
    await client.send("Network.enable");
    client.on("Network.responseReceived", ({ requestId, response }) => {
      if (!new URL(response.url).pathname.startsWith("/api/")) files.add(requestId);
    });
    client.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (files.has(requestId)) fetched += encodedDataLength;
    });
    const began = performance.now();
    await page.goto(service);
    await rows(page).first().waitFor();
    took.push(performance.now() - began);
    await context.close();
  }
  console.log("| first view, median of", VISITS, "ms | most | files fetched, kB |");
  console.log("|--:|--:|--:|");
  console.log(`| ${ms(middle(took))} | ${ms(Math.max(...took))} | ${(fetched / 1_000).toFixed(0)} |\n`);
}

/** From a click on a verdict until the page shows it as chosen, in the page's own clock; and until all that it
 * asks for is there. */
async function echo() {
  const { context, page } = await visitor();
  await page.goto(service);
  await settled(page);
  const took = [];
  const answered = [];
  for (let click = 0; click < VISITS; click += 1) {
    const button = page.getByRole("button", { name: /^✓?\s*Allowed/ });
    const clicked = performance.now();
    took.push(
      await button.evaluate(
        (element) =>
          new Promise((done) => {
            const began = performance.now();
            new MutationObserver((_, observer) => {
              observer.disconnect();
              requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
            }).observe(element, { attributes: true });
            element.click();
          }),
      ),
    );
    await settled(page);
    answered.push(performance.now() - clicked);
  }
  await context.close();
  console.log(
    "| a click on a verdict until it is drawn, median of",
    VISITS,
    "ms | most | until all is read | most |",
  );
  console.log("|--:|--:|--:|--:|");
  const of = (values) => `${ms(middle(values))} | ${ms(Math.max(...values))}`;
  console.log(`| ${of(took)} | ${of(answered)} |\n`);
}

/** Frames of a scroll through rows, and those in which a part of the list had none. */
async function scroll() {
  const { context, page } = await visitor();
  await page.goto(`${service}/?group=rows&verdicts=deny,audit,allow`);
  await rows(page).first().waitFor();
  const { blank, took } = await list(page).evaluate(
    (grid, { frames, pixels }) =>
      new Promise((done) => {
        const inner = [...grid.querySelectorAll("*")];
        const box = [grid, ...inner].find((element) => element.scrollHeight > element.clientHeight + pixels);
        const times = [];
        let empty = 0;
        let last = performance.now();
        const step = (now) => {
          times.push(now - last);
          last = now;
          const { left, top, width, height } = box.getBoundingClientRect();
          const head = grid.querySelector("[role=columnheader]")?.getBoundingClientRect().height ?? 0;
          const covered = [0.1, 0.5, 0.9].every((part) => {
            const at = top + head + (height - head) * part;
            return document.elementFromPoint(left + width / 2, at)?.closest("[role=row]") != null;
          });
          if (!covered) empty += 1;
          if (times.length === frames) done({ blank: empty, took: times.slice(1) });
          else {
            box.scrollTop += pixels;
            requestAnimationFrame(step);
          }
        };
        requestAnimationFrame(step);
      }),
    { frames: SCROLL_FRAMES, pixels: STEP_PIXELS },
  );
  await context.close();
  console.log("| frames of a scroll | without rows somewhere | median ms a frame | most |");
  console.log("|--:|--:|--:|--:|");
  console.log(`| ${SCROLL_FRAMES} | ${blank} | ${middle(took).toFixed(1)} | ${ms(Math.max(...took))} |\n`);
}

/** The page's heap, collected, while it follows everything. */
async function memory() {
  const { context, page, client } = await visitor();
  await client.send("Performance.enable");
  await page.goto(`${service}/?group=rows&verdicts=deny,audit,allow`);
  await rows(page).first().waitFor();
  await page.getByRole("button", { name: "Live", exact: true }).click();
  await untilParameter(page, "live");
  const heap = async () => {
    await client.send("HeapProfiler.collectGarbage");
    const { metrics } = await client.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "JSHeapUsedSize").value;
  };
  console.log("| minutes of live flows | heap, MiB |");
  console.log("|--:|--:|");
  for (let minute = 0; minute <= minutes; minute += 1) {
    if (minute > 0) await page.waitForTimeout(60_000);
    console.log(`| ${minute} | ${mib(await heap())} |`);
  }
  await context.close();
}
