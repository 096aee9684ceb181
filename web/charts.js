// Small charts of the last hour.
import { el, svg } from './dom.js';

const [WIDTH, HEIGHT] = [110, 44];
const HOUR_MS = 3600e3;

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

/** One figure over time, from 0 to 1, with its value now. */
export function chart(title, hint, samples, value, text) {
  const points = samples.map((sample) => [sample.at, value(sample)]).filter(([, y]) => y !== undefined);
  const end = points.at(-1)?.[0] ?? Date.now();
  const start = Math.max(end - HOUR_MS, Math.min(points[0]?.[0] ?? end, end - 60e3));
  const x = (at) => ((at - start) / (end - start)) * WIDTH;
  const y = (part) => HEIGHT - 2 - Math.min(1, part) * (HEIGHT - 6);
  const line = points.map(([at, part]) => `${x(at).toFixed(1)},${y(part).toFixed(1)}`).join(' ');
  const now = points.at(-1);
  const picture = svg(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title} over time, now ${now ? text(now[1]) : 'unknown'}` },
    [0, 0.5, 1].map((part) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y(part), y2: y(part) })),
    points.length > 1 ? [
      svg('polygon', { class: 'area', points: `${x(points[0][0]).toFixed(1)},${y(0)} ${line} ${x(end).toFixed(1)},${y(0)}` }),
      svg('polyline', { class: 'line', points: line }),
    ] : [],
  );
  return el(
    'div',
    { class: 'chart', title: hint },
    el('div', { class: 'title' }, el('span', {}, title)),
    el('b', {}, now ? text(now[1]) : '–'),
    picture,
    el('div', { class: 'axis' }, el('span', {}, clock(start)), el('span', {}, clock(end))),
  );
}
