// A repack plan: asked for, read, and played on the map step by step before anybody carries it out.
import { post } from './api.js';
import { count, el, memory, percent, svg } from './dom.js';
import { Overlay } from './overlay.js';
import { list, parse, pod } from './requests.js';
import { failure } from './whatif.js';

const STEP_MS = 1200;

/** Goals: name, words, whether a number goes with it, and where it starts. */
const GOALS = [
  ['gpus', 'So many more empty GPUs', 1],
  ['nodes', 'So many more empty nodes', 1],
  ['stranded', 'At most so many stranded slices', 0],
  ['fragmentation', 'At most so much fragmentation', 50],
  ['room', 'Room for the pods that wait', null],
];

/** Figures that a plan changes: name, key, whether more is better. */
const FIGURES = [
  ['Empty GPUs', 'emptyGpus', true],
  ['Empty nodes', 'emptyNodes', true],
  ['Free slices', 'freeMemorySlices', true],
  ['Stranded slices', 'strandedMemorySlices', false],
  ['Fragmentation', 'fragmentationCost', false],
];

const number = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1));
const spot = (at) => `${at.node}${(at.devices ?? []).map((it) => ` · GPU ${it.gpu} @${it.start}`).join('')}`;

/** The form, the plan, and the player. */
export class Repack {
  #goal = el('select', { name: 'goal', onchange: () => this.#goalChosen() }, GOALS.map(([value, text]) => el('option', { value }, text)));
  #number = el('input', { type: 'number', name: 'number', min: 0, step: 'any', value: 1 });
  #moves = el('input', { type: 'number', name: 'moves', min: 1, placeholder: 'any' });
  #seconds = el('input', { type: 'number', name: 'seconds', min: 0, max: 60, value: 5 });
  #result = el('div');
  #plan = null;
  #at = 0;
  #timer = null;
  root;

  constructor(ui) {
    this.ui = ui;
    const form = el('form', { class: 'ask', onsubmit: (event) => {
      event.preventDefault();
      this.run();
    } },
      el('div', { class: 'pair' }, el('label', {}, 'Goal', this.#goal), el('label', {}, 'Number', this.#number)),
      el('div', { class: 'even' }, el('label', {}, 'Moves at most', this.#moves), el('label', {}, 'Seconds to search', this.#seconds)),
      el('div', { class: 'buttons' }, el('button', { class: 'main' }, 'Make a plan'), el('button', { type: 'button', onclick: () => this.clear() }, 'Clear')));
    this.root = el('div', { class: 'sheet' }, el('h2', {}, 'Which pods to move?'), el('p', { class: 'muted' }, 'The least GPU memory that has to move for a goal. Look at it here first: nothing is moved.'), form, this.#result);
  }

  draw() {}

  #goalChosen() {
    const start = GOALS.find(([value]) => value === this.#goal.value)[2];
    this.#number.disabled = start === null;
    this.#number.value = start ?? '';
  }

  async run() {
    const query = new URLSearchParams({ timeLimit: this.#seconds.value || '5' });
    if (this.#moves.value) query.set('movesMax', this.#moves.value);
    let body = '';
    if (this.#goal.value === 'room') {
      const waiting = [...this.ui.model.pending.values()];
      body = waiting.length ? list(waiting.map((it) => pod(it.pod.split('/')[1], it.pod.split('/')[0], parse(it.request)))) : '';
    } else query.set(this.#goal.value, this.#number.value);
    this.#result.replaceChildren(el('p', { class: 'muted' }, 'Searching …'));
    try {
      this.show(await post(`/v1/repack?${query}`, body));
    } catch (error) {
      this.#result.replaceChildren(failure(error));
    }
  }

  /** Shows a plan, before its first step. */
  show(plan) {
    this.#stop();
    this.#plan = plan;
    this.#at = 0;
    this.#result.replaceChildren(...this.#read(plan));
    this.#go(0);
  }

  #read(plan) {
    const verdict = plan.reached
      ? plan.moves ? `${count(plan.moves, 'move')}, ${memory(plan.movedMib)}${plan.gap > 0 ? `, at most ${percent(plan.gap)} more than needed` : ', the least possible'}.` : 'Nothing has to move.'
      : plan.impossible ? 'No moves reach it: proved.' : 'No plan was found that reaches it.';
    const row = ([name, key, isMore]) => {
      const [before, after] = [plan.before[key], plan.after[key]];
      const change = after === before ? '' : after > before === isMore ? 'better' : 'worse';
      const arrow = after > before ? '▲ ' : after < before ? '▼ ' : '';
      return el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, number(before)), el('td', { class: change }, `${arrow}${number(after)}`));
    };
    const step = (it, at) => el('li', {}, el('button', { type: 'button', 'data-step': at + 1, onclick: () => this.#go(at + 1) },
      `${at + 1}. ${it.namespace}/${it.name} `, el('span', { class: 'muted' }, it.request), el('div', { class: 'way' }, `${spot(it.from)} → ${spot(it.to)}${it.detour ? ' (makes way, moves again)' : ''}`)));
    const parts = [
      el('p', { class: `verdict ${plan.reached ? '' : 'bad'}`, role: 'status' }, verdict),
      el('table', { class: 'figures-table' }, el('thead', {}, el('tr', {}, ['', 'before', 'after'].map((text) => el(text ? 'th' : 'td', text ? { scope: 'col' } : {}, text)))), el('tbody', {}, FIGURES.map(row))),
    ];
    if (plan.steps.length) parts.push(this.#player(), el('ol', { class: 'steps', 'aria-label': 'Steps' }, plan.steps.map(step)));
    if (plan.stays?.length) parts.push(el('h3', {}, 'Would have helped, and stays'), el('ul', { class: 'reasons' }, plan.stays.slice(0, 30).map((it) => el('li', {}, `${it.namespace}/${it.name}: ${it.reason}`))));
    return parts;
  }

  #player() {
    const button = (path, label, act) => el('button', { type: 'button', class: 'icon', title: label, 'aria-label': label, onclick: act }, svg('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, svg('path', { d: path })));
    return el('div', { class: 'player', role: 'group', 'aria-label': 'Play the plan' },
      button('M2 3h2v10H2zM14 3v10L5 8z', 'To the start', () => this.#go(0)), button('M12 3v10L3 8z', 'One step back ([)', () => this.step(-1)),
      el('span', { class: 'at', 'aria-live': 'polite' }),
      button('M4 3v10l9-5z', 'One step on (])', () => this.step(1)), button('M2 3v10l9-5zM12 3h2v10h-2z', 'To the end', () => this.#go(Infinity)), el('button', { type: 'button', title: 'Play or stop (p)', onclick: () => this.play() }, 'Play'));
  }

  /** Goes so many steps on. */
  step(by) {
    this.#stop();
    if (this.#plan) this.#go(this.#at + by);
  }

  /** Plays from here, or from the start; stops where it plays. */
  play() {
    if (!this.#plan?.steps.length) return;
    if (this.#timer) return this.#stop();
    if (this.#at === this.#plan.steps.length) this.#go(0);
    this.#timer = setInterval(() => {
      this.#go(this.#at + 1);
      if (this.#at === this.#plan.steps.length) this.#stop();
    }, STEP_MS);
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #go(to) {
    const { steps } = this.#plan;
    this.#at = Math.max(0, Math.min(to, steps.length));
    const said = this.#at ? `after step ${this.#at} of ${steps.length}` : `before ${count(steps.length, 'step')}`;
    const label = this.#result.querySelector('.player .at');
    if (label) label.textContent = said;
    for (const button of this.#result.querySelectorAll('[data-step]')) {
      const isNow = Number(button.dataset.step) === this.#at;
      if (isNow) {
        button.setAttribute('aria-current', 'step');
        button.scrollIntoView({ block: 'nearest' });
      } else button.removeAttribute('aria-current');
    }
    const now = steps[this.#at - 1];
    this.ui.overlay(Overlay.ofPlan(this.#plan, this.#at, `Plan, ${said}`), false);
    if (now) this.ui.reveal(now.to.node);
  }

  clear() {
    this.#stop();
    this.#plan = null;
    this.#result.replaceChildren();
    this.ui.overlay(null);
  }

  focus() {
    this.#goal.focus();
  }
}
