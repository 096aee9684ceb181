// Pods that wait: why, and what would help.
import { Problem, get, post, request } from './api.js';
import { count, el, memory } from './dom.js';
import { Overlay } from './overlay.js';
import { list, parse, pod } from './requests.js';

const PODS_MAX = 300;
const PLAN_SECONDS = 2;

const reasons = (refusals) => el('ul', { class: 'reasons' }, refusals.map(({ reason, count: nodes, nodes: names }) => el('li', { title: (names ?? []).join(', ') }, el('b', {}, String(nodes)), el('span', {}, reason))));

/** A pod like the one that waits, as far as its request says. */
function like(it, request = it.request) {
  const [namespace, name] = it.pod.split('/');
  return pod(name, namespace, parse(request));
}

/** Smaller or other profiles that might do, nearest first. */
function alternatives(model, request) {
  const wanted = request.match(/^(?:(\d+)x )?(\d+)g\.(\d+)gb\S*$/);
  if (!wanted) {
    const whole = request.match(/^(\d+)x (\S+\/\S+)$/);
    return whole ? [...new Set([Number(whole[1]) >> 1, 1])].filter((n) => n > 0 && n < Number(whole[1])).map((n) => (n === 1 ? whole[2] : `${n}x ${whole[2]}`)) : [];
  }
  const [, many, , gigabytes] = wanted;
  const names = new Map();
  for (const row of model.models.values()) for (const it of row.profiles) names.set(it.profile, it.memoryMib);
  const near = [...names].filter(([name]) => !/[+-]/.test(name) && name !== request.replace(/^\d+x /, ''));
  near.sort((a, b) => Math.abs(a[1] - 1024 * gigabytes) - Math.abs(b[1] - 1024 * gigabytes));
  return near.slice(0, 6).map(([name]) => (many ? `${many}x ${name}` : name));
}

let known;
/** Whether this server has that route: its text of routes says so. */
const explains = () => (known ??= request('/', { headers: { accept: 'text/plain' } }).then(async (response) => (await response.text()).includes('/explain')));

/** Why it waits, and what would help; every suggestion is tried before it is shown. */
async function answer(it, ui) {
  const [namespace, name] = it.pod.split('/').map(encodeURIComponent);
  if (!(await explains())) return tried(it, ui);
  try {
    return explained(await get(`/v1/pods/${namespace}/${name}/explain`), it, ui);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
  }
  return tried(it, ui);
}

/** What the server explains: it knows all of the pod, and has tried each change. */
function explained(explain, it, ui) {
  const { pending } = explain;
  if (!pending) return [el('p', {}, explain.summary)];
  const line = (change) => el('li', {}, el('span', { class: 'text yes' }, change.text), shown(change, it, ui));
  return [
    el('p', {}, explain.summary),
    el('h3', {}, 'What would make it fit'),
    pending.changes?.length ? el('ul', { class: 'changes' }, pending.changes.map(line)) : el('p', {}, pending.fits ? 'Nothing has to change.' : 'No single change.'),
    pending.noSuchChange?.length ? el('p', { class: 'muted' }, `No such change: ${pending.noSuchChange.map((kind) => KINDS[kind] ?? kind).join(', ')}.`) : null,
    pending.notSearchedOut?.length ? el('p', { class: 'muted' }, `Not searched out: ${pending.notSearchedOut.map((kind) => KINDS[kind] ?? kind).join(', ')}.`) : null,
    ...(pending.refusals?.length ? why(pending.refusals, pending.details ?? []) : []),
  ].filter(Boolean);
}

/** Kinds of change in words. */
const KINDS = { ask: 'asking for less', lift: 'lifting a taint, selector or cordon', move: 'moving other pods', evict: 'evicting pods of lower priority', grow: 'one node more' };

/** A button that draws a change, where the map has its node. */
function shown(change, it, ui) {
  if (change.plan) return link('show', () => ui.plan(change.plan));
  const { place } = change;
  if (!place || !ui.model.nodes.has(place.node)) return null;
  return link('show', () => {
    const overlay = new Overlay(`${it.pod}: ${change.text}`);
    overlay.add(place.node, it.pod, place.devices ?? [], change.ask?.to ?? it.request);
    ui.overlay(overlay, true);
  });
}

const link = (text, act) => el('button', { type: 'button', class: 'link', onclick: act }, text);

const why = (refusals, details) => [
  el('h3', {}, 'Why it waits'),
  refusals.length ? reasons(refusals) : el('p', {}, 'It has no place yet.'),
  ...(details.length ? [el('h3', {}, 'On the GPUs themselves'), el('ul', { class: 'reasons' }, details.map((line) => el('li', {}, line)))] : []),
];

/** The same from dry runs. */
async function tried(it, ui) {
  const dryrun = (request) => post('/v1/dryrun', list([like(it, request)]));
  const now = (await dryrun(it.request)).pods[0];
  const others = await Promise.all(alternatives(ui.model, it.request).map(async (request) => [request, await dryrun(request).catch(() => null)]));
  const fitting = others.filter(([, result]) => result?.allFit).slice(0, 3);
  const change = (text, isYes, button) => el('li', {}, el('span', { class: `text ${isYes ? 'yes' : 'no'}` }, text), button);
  const show = (title, result) => link('show', () => ui.overlay(Overlay.ofDryRun(result, title), true));
  const found = fitting.map(([request, result]) => change(`asking for ${request} instead: fits on ${result.pods[0].node}`, true, show(`${it.pod} as ${request}`, result)));
  const room = await post(`/v1/repack?timeLimit=${PLAN_SECONDS}`, list([like(it)])).catch(() => null);
  if (room?.reached && room.moves) {
    const text = `${count(room.moves, 'move')} of other pods (${memory(room.movedMib)})`;
    found.push(change(text, true, link('show', () => ui.plan(room))));
  } else if (room && !room.reached) {
    found.push(change(room.impossible ? 'no moves of other pods make room: proved' : 'no moves of other pods found', false));
  }
  const fits = now.node && el('p', {}, `By its request alone it fits on ${now.node} now: what keeps it is in its node selector, its affinity or kube-scheduler’s queue.`);
  return [
    ...(fits ? [el('h3', {}, 'Why it waits'), fits] : why(now.refusals ?? [], now.details ?? [])),
    el('h3', {}, 'What would make it fit'),
    found.length ? el('ul', { class: 'changes' }, found) : el('p', {}, 'Nothing that was tried: other profiles, moves of other pods.'),
    el('p', { class: 'muted' }, 'Tried with the pod’s request; its node selector is not known here.'),
  ];
}

/** The list of waiting pods. It keeps what is open while the list changes. */
export class Pending {
  #open = null;
  #answer = null;
  root = el('div', { class: 'sheet' });

  constructor(ui) {
    this.ui = ui;
  }

  draw() {
    const pods = [...this.ui.model.pending.values()].sort((a, b) => b.priority - a.priority || (a.pod < b.pod ? -1 : 1));
    if (this.#open && !this.ui.model.pending.has(this.#open)) this.#open = null;
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.pod : null;
    this.root.replaceChildren(
      el('h2', {}, pods.length ? `${count(pods.length, 'pod')} wait for a GPU` : 'No pod waits for a GPU'),
      el('p', { class: 'muted' }, pods.length ? 'Choose one to see why, and what would make it fit.' : 'Pods that ask for GPUs and have no node are listed here.'),
      el('ul', { class: 'list' }, pods.slice(0, PODS_MAX).map((it) => this.#item(it))),
      pods.length > PODS_MAX ? el('p', { class: 'muted' }, `and ${pods.length - PODS_MAX} more`) : '',
    );
    if (focused) this.root.querySelector(`[data-pod="${CSS.escape(focused)}"]`)?.focus();
  }

  #item(it) {
    const isOpen = this.#open === it.pod;
    const button = el('button', { type: 'button', class: 'item', 'aria-expanded': String(isOpen), 'data-pod': it.pod, onclick: () => this.toggle(it.pod) },
      el('span', { class: 'pod' }, it.pod), el('span', { class: 'ask' }, el('span', {}, it.request), el('span', {}, it.priority ? `priority ${it.priority}` : '')));
    return el('li', {}, button, isOpen ? this.#answer : null);
  }

  /** Opens a pod, or closes it. */
  async toggle(name) {
    this.#open = this.#open === name ? null : name;
    const it = this.ui.model.pending.get(this.#open);
    const place = el('div', { class: 'answer', role: 'region', 'aria-label': `Why ${name} waits` }, el('p', { class: 'muted' }, 'Trying …'));
    this.#answer = place;
    this.draw();
    if (!it) return;
    try {
      place.replaceChildren(...(await answer(it, this.ui)));
    } catch (error) {
      place.replaceChildren(el('p', { class: 'error' }, error.message));
    }
  }
}
