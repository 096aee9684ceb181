// Puts the page together.
import { onTokenWanted } from './api.js';
import { Controls } from './controls.js';
import { details } from './details.js';
import { announce, count, el, memory, percent } from './dom.js';
import { groups } from './groups.js';
import { askForToken, help } from './help.js';
import { listen } from './keys.js';
import { ClusterMap } from './map.js';
import { Model } from './model.js';
import { overview } from './overview.js';
import { Pending } from './pending.js';
import { Repack } from './repack.js';
import { WhatIf } from './whatif.js';

const CARDS_MAX = 200; // more nodes are cells at first
const by = (id) => document.getElementById(id);

const model = new Model();
const context = { model, by: 'namespace', overlay: null };

// Light and dark: as the system has it, until somebody says otherwise.
const system = matchMedia('(prefers-color-scheme: dark)');
const theme = (chosen = localStorage.getItem('tangram.theme')) => (document.documentElement.dataset.theme = chosen ?? (system.matches ? 'dark' : 'light'));
theme();
system.addEventListener('change', () => theme());
function switchTheme() {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  localStorage.setItem('tangram.theme', next);
  theme(next);
}

// The panel.
const sheets = ['overview', 'node', 'pending', 'whatif', 'repack'];
const titles = { overview: 'Overview', node: 'Node', pending: 'Pending', whatif: 'What if', repack: 'Repack' };
let [sheet, chosen] = ['overview', { name: null, gpu: undefined }];

const ui = {
  model,
  /** Draws something over the map; null takes it away. */
  overlay(overlay, isShown) {
    context.overlay = overlay?.names.length ? overlay : null;
    by('banner').hidden = !overlay;
    if (overlay) {
      by('banner').replaceChildren(el('span', { class: 'grow' }, overlay.title), el('button', { type: 'button', onclick: () => clear() }, 'Clear'));
      announce(overlay.title);
    }
    map.refresh();
    drawSheet();
    if (isShown && overlay?.names.length) map.reveal(overlay.names[0]);
  },
  plan(plan) {
    show('repack');
    repack.show(plan);
  },
  choose: (name) => {
    map.reveal(name);
    choose(name);
    map.mark(name);
  },
  reveal: (name) => map.reveal(name),
};
const [pending, whatif, repack] = [new Pending(ui), new WhatIf(ui), new Repack(ui)];
const tabs = sheets.map((name) => el('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': `sheet-${name}`, onclick: () => show(name) }, titles[name]));
by('tabs').append(...tabs);
by('tabs').addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  show(sheets[(sheets.indexOf(sheet) + step + sheets.length) % sheets.length]);
  by(`tab-${sheet}`).focus();
});
for (const name of sheets) by('sheets').append(el('div', { role: 'tabpanel', id: `sheet-${name}`, 'aria-labelledby': `tab-${name}`, tabIndex: 0, hidden: true }));
by('sheet-pending').append(pending.root);
by('sheet-whatif').append(whatif.root);
by('sheet-repack').append(repack.root);

function drawSheet() {
  if (sheet === 'overview') by('sheet-overview').replaceChildren(overview({ model, by: context.by, search: (text) => controls.set({ search: text }) }));
  else if (sheet === 'node') by('sheet-node').replaceChildren(details(model.nodes.get(chosen.name), context, chosen.gpu, (pod) => controls.set({ search: pod })));
  else ({ pending, whatif, repack })[sheet].draw();
}

function show(name) {
  sheet = name;
  for (const tab of tabs) {
    const isIt = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', String(isIt));
    tab.tabIndex = isIt ? 0 : -1;
  }
  for (const other of sheets) by(`sheet-${other}`).hidden = other !== name;
  drawSheet();
}

function choose(name, gpu) {
  chosen = { name, gpu };
  show('node');
  announce(`${name} chosen`);
}

// The map.
const map = new ClusterMap(by('map'), context, choose);
const controls = new Controls(by('controls'), (keys) => {
  context.by = controls.view.by;
  if (keys.includes('by') && keys.length === 1) map.refresh();
  else drawMap();
  drawSheet();
});
context.by = controls.view.by;

function drawMap() {
  const found = groups(model.nodes.values(), controls.view);
  const shown = found.reduce((sum, group) => sum + group.nodes.length, 0);
  map.mode = controls.view.mode === 'auto' ? (model.nodes.size > CARDS_MAX ? 'cells' : 'cards') : controls.view.mode;
  controls.reflectMode(map.mode);
  controls.said(shown === model.nodes.size ? count(shown, 'node') : `${shown} of ${model.nodes.size}`);
  map.show(found);
}

function clear() {
  whatif.clear();
  repack.clear();
}

// What the events bring, drawn at most once per frame.
let due = null;
function later(what) {
  if (!due) requestAnimationFrame(() => {
    const [all, names, isSheet] = [due.all, due.names, due.sheet];
    due = null;
    if (all) drawMap();
    else if (names.size) map.refresh(names);
    drawSummary();
    if (isSheet && !by('sheets').querySelector(':focus:not([role=tabpanel])')) drawSheet();
    else if (isSheet && sheet === 'pending') drawSheet();
  });
  due ??= { all: false, names: new Set(), sheet: false };
  due.all ||= what.all;
  due.sheet ||= what.sheet;
  for (const name of what.names ?? []) due.names.add(name);
}
model.addEventListener('change', ({ detail }) => later({ all: !detail || detail.isNew || Boolean(controls.view.search) || controls.view.filter !== 'all', names: detail?.names, sheet: !detail || sheet !== 'overview' }));
model.addEventListener('sample', () => later({ all: false, sheet: sheet === 'overview' }));
model.addEventListener('live', () => {
  by('live').classList.toggle('on', model.isLive);
  by('live').textContent = model.isLive ? 'live' : 'reconnecting';
});

function drawSummary() {
  const { sample } = model;
  const pods = model.pending.size;
  const sum = { gpus: 0, stranded: 0 };
  for (const node of model.nodes.values()) for (const key of Object.keys(sum)) sum[key] += node.sum[key];
  const figures = [
    ['Nodes', model.nodes.size.toLocaleString('en')],
    ['GPUs', sum.gpus.toLocaleString('en')],
    ['GPU memory in use', sample ? `${percent(sample.utilisation)} of ${memory(sample.totalMib)}` : '–'],
    ['Stranded', sample ? `${count(sum.stranded, 'slice')} · ${memory(sample.strandedMib)}` : count(sum.stranded, 'slice')],
    ['Pending', count(pods, 'pod')],
  ];
  by('summary').replaceChildren(...figures.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
  by('tab-pending').replaceChildren('Pending', el('span', { class: 'count' }, String(pods)));
}

by('theme').addEventListener('click', switchTheme);
by('help').addEventListener('click', help);
listen({
  search: () => controls.focus(),
  map: () => map.focus(),
  group: () => controls.next(),
  mode: () => controls.set({ mode: map.mode === 'cells' ? 'cards' : 'cells' }),
  colours: () => controls.set({ by: context.by === 'namespace' ? 'profile' : 'namespace' }),
  sheet: (key) => show(sheets[Number(key) - 1]),
  whatif: () => {
    show('whatif');
    whatif.focus();
  },
  step: (key) => repack.step(key === '[' ? -1 : 1),
  play: () => repack.play(),
  theme: switchTheme,
  help,
  escape: () => {
    if (context.overlay || !by('banner').hidden) clear();
    else if (controls.view.search) controls.set({ search: '' });
    document.activeElement?.blur?.();
  },
});

onTokenWanted(askForToken);
show('overview');
drawSummary();
model.run().catch((error) => {
  by('live').textContent = `stopped: ${error.message}; reload the page to try again`;
});
