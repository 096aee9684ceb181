// A page in the system's Chromium, and everything that must not happen in it.
import { createRequire } from 'node:module';
import fs from 'node:fs';

const require = createRequire(`${process.cwd()}/`);
const { chromium } = require('playwright-core');

/** Longer than anything takes on a machine with all its cores taken: a wait that meets it has failed. */
export const LIMIT_MS = 60_000;

/** Opens the page; `faults` collects errors of the console and requests to other places. */
export async function open(base, { scheme = 'light', width = 1280, height = 800 } = {}) {
  const flags = ['--no-sandbox', '--disable-dev-shm-usage', '--enable-precise-memory-info'];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => faults.push(`exception: ${error.stack}`));
  page.on('request', (request) => new URL(request.url()).origin === base || faults.push(`external: ${request.url()}`));
  const began = performance.now();
  await page.goto(`${base}/`);
  await page.waitForSelector('.live.on');
  await page.waitForSelector('[data-node]');
  return { browser, page, faults, shown_ms: performance.now() - began };
}

const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** What the accessibility checker finds in the page as it is now. */
export async function barriers(page) {
  await page.evaluate(axe); // by the debugger, so that the page's own policy stays in force
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ''}`).join(' | ')}`);
}
